"""The folder of an index: where its files lie, which snapshot is live, and who may write.

    CURRENT              id of the live snapshot
    LOCK                 locked by the one writer
    snapshots/ID.json    manifest of a snapshot; its documents and tombstones lie beside it
    segments/NAME/       files of a segment

Everything else in it (`files.arrow`, `extracted.sqlite`, `recognised.sqlite`, `rates.json`, `cache/`) only makes
refreshes faster.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from index.durable import locked, write_file
from index.errors import CorruptSnapshot, IndexBusy, IndexFault, NoSnapshot
from index.store.manifest import Manifest

CURRENT = "CURRENT"
SEGMENTS = "segments"
SNAPSHOTS = "snapshots"
_LOCK = "LOCK"
_ID = re.compile(r"[0-9a-f]{16}")


def current_id(root: Path) -> str:
    """The id of the live snapshot.

    Raises:
        NoSnapshot: nothing has been built in this folder.
        CorruptSnapshot: the file that names it names no snapshot.
    """
    path = Path(root) / CURRENT
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NoSnapshot(f"There is no index in {root}; build it with `ragft index build`.") from None
    name = content.decode("ascii", "backslashreplace").strip()
    if not _ID.fullmatch(name):
        raise CorruptSnapshot(
            f"The file {path} holds {name[:40]!r} instead of the id of a snapshot; delete it, and make a snapshot live "
            "with `ragft index publish ID` (`ragft index list` names them), or refresh the index."
        )
    return name


def set_current(root: Path, snapshot: str) -> None:
    """Make a snapshot the live one: the single step that readers see."""
    write_file(root / CURRENT, f"{snapshot}\n".encode())


def manifest_path(root: Path, snapshot: str) -> Path:
    """Path of a snapshot's manifest; what is not a snapshot id never becomes a path."""
    if not _ID.fullmatch(snapshot):
        raise NoSnapshot(f"{snapshot!r} is not a snapshot id (16 hexadecimal digits); see `ragft index list`.")
    return root / SNAPSHOTS / f"{snapshot}.json"


def read_manifest(root: Path, snapshot: str) -> Manifest:
    """The manifest of a snapshot; raises like `Manifest.read`."""
    return Manifest.read(manifest_path(root, snapshot))


def write_manifest(root: Path, manifest: Manifest) -> None:
    write_file(manifest_path(root, manifest.id), manifest.to_bytes())


def make_live(root: Path, manifest: Manifest) -> None:
    """Write the manifest of a snapshot, and make that the live one."""
    write_manifest(root, manifest)
    set_current(root, manifest.id)


def manifest_paths(root: Path) -> list[Path]:
    """Paths of all manifests, also of those that cannot be read."""
    return [Path(path) for path in _manifests(root)]


def all_manifests(root: Path) -> Iterator[Manifest]:
    """All manifests; raises like `Manifest.read` for one that cannot be read."""
    return map(Manifest.read, _manifests(root))


def readable_manifests(root: Path) -> Iterator[Manifest]:
    """All manifests but those that are damaged or of another format, in no particular order."""
    for path in _manifests(root):
        try:
            yield Manifest.read(path)
        except IndexFault:
            continue


def _manifests(root: Path) -> list[str]:
    """As strings: every refresh asks for all of them four times, and objects would cost more than the rest."""
    folder = f"{root}/{SNAPSHOTS}"
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [f"{folder}/{name}" for name in sorted(names) if name.endswith(".json")]


@contextmanager
def writing(root: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock of the one writer. It ends with its process, so no stale lock is ever left.

    A missing folder is made. Unless told to wait for another writer, raises IndexBusy if there is one.
    """
    root.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(root / _LOCK, wait=wait))
        except BlockingIOError:
            raise IndexBusy(
                f"Another process is writing the index in {root}; try again when it is done, or wait for it "
                "with `--wait`."
            ) from None
        yield
