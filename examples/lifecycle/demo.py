"""The main job on the embedded example: train, compare, refresh the index under a running server, and serve.

    python examples/lifecycle/demo.py [--full] [--no-serve]

It runs the same commands that a user types, and says each of them. What is up to date is skipped: the second time, the
server is up in a minute or two.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from openai import OpenAI
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CONFIG = Path("configs/lifecycle.yaml")
WORKSPACE = ROOT / "workspace" / "lifecycle"
OLD_PAGES = "examples/lifecycle/documents-2025-06-01"
RAGFT = Path(sys.executable).with_name("ragft")
SUBSET = {"full": 150, "short": 100}
"""Questions that are asked, by recipe."""
CHANGED = {"full": 24, "short": 12}
"""Questions that the live refresh is shown with."""
STARTING_SECONDS = 300.0
LONGEST_TRAINING_MINUTES = 30

console = Console(highlight=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="evaluate all questions instead of a seeded subset")
    parser.add_argument("--no-serve", action="store_true", help="end after the report instead of serving")
    parser.add_argument("--port", type=int, default=8000, help="port of the server; a free one if it is taken")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    # Ctrl-C reaches the server through `serving`; here it only ends the waiting.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    taken = recipe()
    limit = [] if arguments.full else ["--set", f"evaluate.limit={SUBSET[taken]}"]
    ragft("run", *limit, *(["--set", "recipe=short"] if taken == "short" else []))
    with contextlib.suppress(KeyboardInterrupt):
        if not is_refreshed() or not arguments.no_serve:
            with serving(arguments.port) as (server, address):
                if not is_refreshed():
                    show_refresh(address, CHANGED[taken])
                if not arguments.no_serve:
                    show_how_to_ask(address)
                    return server.wait()
    return 0


def recipe() -> str:
    """The recipe: `short` where training by the full one would take too long on this machine, else `full`.

    What was deployed before decides, where there is something: the second time, nothing is trained again.
    """
    current = WORKSPACE / "models" / "CURRENT"
    if current.is_file():
        manifest = WORKSPACE / "models" / deployed_model() / "manifest.json"
        return "short" if json.loads(manifest.read_text())["figures"].get("recipe") == "short" else "full"
    minutes = told("estimate")["training_seconds"] / 60
    console.print(f"Training would take about {minutes:.0f} minutes on this machine.")
    if minutes <= LONGEST_TRAINING_MINUTES:
        return "full"
    console.print(
        f"That is more than {LONGEST_TRAINING_MINUTES}: the recipe `short` of {CONFIG} is taken, which the report says."
    )
    return "short"


def say_command(*arguments: object) -> None:
    """Says which command of ragft is run, as one would type it."""
    console.print(f"$ {shlex.join(map(str, ('ragft', *arguments)))}", style="bold", markup=False, soft_wrap=True)


def ragft(*arguments: str) -> None:
    """Runs one command of ragft; ends the demo with its status if it fails."""
    say_command(*arguments, "-c", CONFIG)
    status = subprocess.run([RAGFT, *arguments, "-c", CONFIG], check=False).returncode
    if status:
        sys.exit(status)


def told(*arguments: str) -> dict[str, Any]:
    """What one command of ragft says as JSON; ends the demo with its status if it fails."""
    say_command(*arguments, "-c", CONFIG)
    ended = subprocess.run([RAGFT, *arguments, "--json", "-c", CONFIG], stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        sys.exit(ended.returncode)
    values: dict[str, Any] = json.loads(ended.stdout)
    return values


@contextlib.contextmanager
def serving(port: int, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running `ragft serve` and its address; stopped at the end."""
    with contextlib.suppress(OSError):
        import socket

        if socket.create_connection(("127.0.0.1", port), timeout=1):
            console.print(f"Port {port} is taken: serving on a free one")
            port = 0
    say_command("serve", "--port", port, *options, "-c", CONFIG)
    server = subprocess.Popen(
        [RAGFT, "serve", "--port", str(port), *options, "-c", CONFIG],
        stderr=subprocess.PIPE, text=True, process_group=0,
    )  # fmt: skip
    lines: Queue[str] = Queue()
    assert server.stderr is not None
    threading.Thread(target=_pass_on, args=(server.stderr, lines), daemon=True).start()
    try:
        yield server, _wait_until_ready(server, lines)
    finally:
        if server.poll() is None:
            server.terminate()
            server.wait()


def _pass_on(stream: Any, lines: Queue[str]) -> None:
    for line in stream:
        sys.stderr.write(line)
        lines.put(line)


def _wait_until_ready(server: subprocess.Popen[str], lines: Queue[str]) -> str:
    address = ""
    deadline = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit(server.returncode or 1)
        try:
            line = lines.get(timeout=1)
        except Empty:
            continue
        if "Listening on " in line:
            address = line.split("Listening on ")[1].split(",")[0].strip()
        if line.strip() == "Ready":
            return address
    console.print(f"The server was not ready within {STARTING_SECONDS:.0f} s")
    sys.exit(1)


def is_refreshed() -> bool:
    """Whether the refresh was shown already with the model that is deployed."""
    shown = WORKSPACE / "refresh.json"
    return shown.is_file() and json.loads(shown.read_text())["model"] == deployed_model()


def deployed_model() -> str:
    return (WORKSPACE / "models" / "CURRENT").read_text().strip()


def show_refresh(address: str, count: int) -> None:
    """The same questions before and after `ragft index refresh` under the running server."""
    rows = [json.loads(line) for line in (HERE / "questions.jsonl").read_text().splitlines()]
    questions = [row for row in rows if "changed" in row["tags"]][:count]
    console.rule("Facts change, nothing is retrained")
    ragft("index", "refresh", "--set", f"index.documents.folder={OLD_PAGES}")
    before = ask_all(address, questions)
    begin = time.perf_counter()
    ragft("index", "refresh")
    seconds = time.perf_counter() - begin
    after = ask_all(address, questions)
    table = Table("question", "pages of 2025-06-01", "pages of 2026-08-22", "right today")
    for row, old, new in list(zip(questions, before, after, strict=True))[:8]:
        right = row["answers"][0]
        colour = "green" if value(new) == right else "red"
        table.add_row(row["question"], value(old), f"[{colour}]{value(new)}[/]", right)
    console.print(table)

    def holding(answers: list[str], key: str) -> int:
        return sum(value(answer) in row[key] for answer, row in zip(answers, questions, strict=True))

    counts = {
        "questions": len(questions),
        "right_before_by_the_old_pages": holding(before, "stale_answers"),
        "right_after": holding(after, "answers"),
        "stale_after": holding(after, "stale_answers"),
    }
    console.print(
        f"Of {len(questions)} changed facts, {counts['right_before_by_the_old_pages']} were answered by the old pages "
        f"before and {counts['right_after']} by the new pages after the refresh; {counts['stale_after']} are stale."
    )
    result = {"model": deployed_model(), "refresh_seconds": round(seconds, 1), **counts}
    (WORKSPACE / "refresh.json").write_text(json.dumps(result, indent=1))


def ask_all(address: str, questions: list[dict[str, Any]]) -> list[str]:
    """Answers of the hybrid setup, from whichever snapshot is live; waits until the server has it."""
    live = (WORKSPACE / "index" / "CURRENT").read_text().strip()
    client = OpenAI(base_url=f"{address}/v1", api_key=os.environ.get("RAGFT_API_KEY", "none"))

    def ask(question: str) -> tuple[str, str]:
        answer = client.chat.completions.create(model="hybrid", messages=[{"role": "user", "content": question}])
        return answer.choices[0].message.content or "", (answer.model_extra or {})["ragft"]["index_version"]

    for _ in range(60):
        if ask(questions[0]["question"])[1] in live:
            break
        time.sleep(0.5)
    return [ask(row["question"])[0] for row in questions]


def value(answer: str) -> str:
    """The last line of a card, without its label."""
    return answer.strip().rpartition("Answer: ")[2]


def show_how_to_ask(address: str) -> None:
    console.rule("The server is running: Ctrl-C ends it")
    question = "Is PostgreSQL 13 still supported on 2026-09-01?"
    body = json.dumps({"model": "hybrid", "messages": [{"role": "user", "content": question}]})
    quoted = body.replace("'", "'\\''")
    command = "ragft" if shutil.which("ragft") else RAGFT.relative_to(ROOT)
    header = "-H 'Content-Type: application/json'"
    console.print(f"curl {address}/v1/chat/completions {header} -d '{quoted}'", soft_wrap=True)
    console.print(f'{command} ask --server {address} -c {CONFIG} "{question}"', soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
