"""Every stage's output is a folder with `manifest.json`: named by the fingerprint of all that went in, published whole.

A stage whose fingerprint exists is skipped. A change of any input makes a new folder; nothing is overwritten in place.
While a stage runs, its files grow in a hidden folder that has the fingerprint in its name too, so that an
interrupted stage finds there what it had.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from blake3 import blake3

from index.durable import locked, publish_folder, write_file
from ragft.errors import RagftError

MANIFEST = "manifest.json"

# What an interrupted stage resumes from.
_RESUMABLE = ("checkpoint*", "records.jsonl")


@dataclass(frozen=True)
class Artifact:
    """A published output of a stage."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        return str(self.manifest["fingerprint"])

    @property
    def figures(self) -> dict[str, Any]:
        """What the stage measured."""
        return dict(self.manifest["figures"])


def fingerprint_of(kind: str, inputs: Mapping[str, Any], packages: Iterable[str] = ()) -> str:
    """16 hex digits over a stage's kind, inputs and packages; the order of the keys does not count.

    Args:
        inputs: values that JSON can hold; files go in by their content (`hash_file`), never by their name.
        packages: names of the packages whose versions decide the output.
    """
    decided = {**inputs, "versions": package_versions(packages)}
    text = json.dumps({"kind": kind, "inputs": decided}, sort_keys=True, ensure_ascii=False)
    return blake3(text.encode()).hexdigest()[:16]


def hash_file(path: Path) -> str:
    """16 hex digits over a file's content."""
    hasher = blake3()
    hasher.update_mmap(path)
    return hasher.hexdigest()[:16]


def hash_folder(folder: Path, patterns: Iterable[str] = ("*",)) -> str:
    """16 hex digits over the names and contents of the files in a folder, without the manifest.

    Args:
        patterns: of the files that count, as for `Path.glob`.
    """
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    listed = [(path.relative_to(folder).as_posix(), hash_file(path)) for path in files if path.name != MANIFEST]
    return blake3(json.dumps(listed).encode()).hexdigest()[:16]


def hash_model(folder: Path) -> str:
    """16 hex digits over all of a model's folder that changes what it says: weights, config, tokenizer, template."""
    return hash_folder(folder, ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"])


def model_version(folder: Path) -> str:
    """16 hex digits that identify a model by its content; a model that ragft published carries them in its manifest."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        # Earlier manifests have no version; their fingerprint stood for it.
        return str(manifest["figures"].get("version") or manifest["fingerprint"])
    return hash_model(folder)


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Installed versions of packages, without those that are not installed."""
    return {name: version for name in names if (version := _installed_version(name)) is not None}


@cache
def _installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def find(root: Path, fingerprint: str) -> Artifact | None:
    """The published artifact with this fingerprint, if there is one."""
    path = root / fingerprint / MANIFEST
    if not path.is_file():
        return None
    return Artifact(path.parent, json.loads(path.read_text(encoding="utf-8")))


def build(
    root: Path, kind: str, inputs: Mapping[str, Any], work: Callable[[Path], Mapping[str, Any]], *,
    packages: Iterable[str] = (), parents: Mapping[str, str] | None = None,
) -> tuple[Artifact, bool]:  # fmt: skip
    """The artifact of these inputs: found if it exists, else made and published.

    Args:
        root: folder of all artifacts of this kind.
        inputs: all that decides the output; see `fingerprint_of`.
        packages: names of the packages whose versions decide it, too.
        work: fills the folder that it is given and returns the figures for the manifest. After an interruption it is
            given the same folder again, with what it had written.
        parents: fingerprints of the artifacts that this one was made from, by kind.

    Returns:
        the artifact, and whether it was made now.

    Raises:
        RagftError: another process is making the same artifact.
    """
    fingerprint = fingerprint_of(kind, inputs, packages)
    existing = find(root, fingerprint)
    if existing is not None:
        return existing, False
    growing = root / f".{fingerprint}.growing"
    root.mkdir(parents=True, exist_ok=True)
    with _only_one(root / f".{fingerprint}.lock", kind):
        existing = find(root, fingerprint)
        if existing is not None:  # made by another process while this one came to the lock
            return existing, False
        growing.mkdir(exist_ok=True)
        begin = time.perf_counter()
        figures = dict(work(growing))
        manifest = {
            "kind": kind,
            "fingerprint": fingerprint,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - begin, 2),
            "parents": dict(parents or {}),
            "inputs": dict(inputs),
            "versions": package_versions(packages),
            "figures": figures,
        }
        write_file(growing / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode())
        publish_folder(growing, root / fingerprint)
    return Artifact(root / fingerprint, manifest), True


def remove(artifact: Artifact) -> None:
    """Deletes an artifact: the whole of it is gone at once, and `sweep` deletes what an interruption leaves."""
    leaving = artifact.folder.with_name(f".{artifact.fingerprint}.growing")
    artifact.folder.rename(leaving)
    shutil.rmtree(leaving)


def sweep(root: Path, older_than: float = 86_400.0) -> list[Path]:
    """Deletes folders that killed stages left behind and that no stage would go on from; returns them.

    What an interrupted training or evaluation resumes from stays, for whatever configuration it was.

    Args:
        root: folder of all artifacts of one kind.
        older_than: seconds since the last write.
    """
    swept = []
    for growing in sorted(root.glob(".*.growing")):
        with contextlib.suppress(RagftError, OSError):
            if not _is_abandoned(growing, older_than):
                continue
            with _only_one(growing.with_suffix(".lock"), "stage"):
                # Once more: a stage may have begun there before the lock was taken.
                if _is_abandoned(growing, older_than):
                    shutil.rmtree(growing)
                    swept.append(growing)
    return swept


def _is_abandoned(growing: Path, older_than: float) -> bool:
    """Whether nothing was written there for so long, and nothing in it could be gone on from."""
    files = [growing, *growing.rglob("*")]
    resumable = any(path.match(pattern) for path in files for pattern in _RESUMABLE)
    return not resumable and time.time() - max(path.stat().st_mtime for path in files) > older_than


@contextmanager
def _only_one(lock: Path, kind: str) -> Iterator[None]:
    """Keeps a second process out of a growing folder."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(lock, remove=True))
        except BlockingIOError:
            raise RagftError(
                f"Another process is making this {kind} in {lock.parent}: wait for it, or use another workspace."
            ) from None
        yield


def artifacts_in(root: Path) -> list[Artifact]:
    """All published artifacts in a folder, the newest first."""
    found = [artifact for path in root.glob("*/" + MANIFEST) if (artifact := find(root, path.parent.name))]
    return sorted(found, key=lambda artifact: str(artifact.manifest["created"]), reverse=True)
