"""The manifest of a snapshot: one JSON file that names every other file, with size and checksum."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import xxhash
from blake3 import blake3

from index.documents.chunking import CHUNKER_VERSION, ChunkSettings
from index.errors import CorruptSnapshot, NoSnapshot
from index.store.kinds import VectorsEntry
from index.store.terms import Analysis

FORMAT = f"3.{CHUNKER_VERSION}"
"""Versions of the files and the chunker; an index of another format must be rebuilt. Terms have a version of their own
(see `Analysis`), because a refresh writes them anew by itself."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Size and checksum of a file.

    The checksum, 128-bit XXH3 in hex, finds damage, not forgery, at the speed of memory: 300 MB, an index of 100,000
    passages, take 15 ms.
    """

    bytes: int
    xxh3: str


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """A segment as one snapshot sees it.

    Attributes:
        name: name of its folder.
        rows: number of rows, `removed` ones included.
        tombstones: file with one bit for each row, set for removed ones; None if no row was removed.
    """

    name: str
    rows: int
    removed: int
    tombstones: str | None
    vectors: VectorsEntry = field(default_factory=VectorsEntry)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything about a snapshot but its content. File names are relative to the index.

    Attributes:
        analysis: how the passages of all segments became terms.
        held: why a gate held the snapshot back, a sentence for each reason; empty if none did.
        reading: hash of everything but the files that decides what is read from them; empty if it is not known.
        sequence: increases with every manifest that is written; `created` does not, because a clock may be set back.
    """

    id: str
    parent: str | None
    created: str
    encoder_fingerprint: str
    encoder_source: str
    dimension: int
    settings: ChunkSettings
    analysis: Analysis
    documents: int
    chunks: int
    documents_file: str
    segments: tuple[SegmentEntry, ...]
    files: Mapping[str, FileEntry]
    held: tuple[str, ...] = ()
    sequence: int = 0
    reading: str = ""

    def to_bytes(self) -> bytes:
        content = {"format": FORMAT, **msgspec.to_builtins(self)}
        return msgspec.json.format(msgspec.json.encode({**content, "checksum": _checksum(content)}), indent=1)

    @classmethod
    def read(cls, path: Path | str) -> Manifest:
        """Read and check a manifest.

        Raises:
            NoSnapshot: there is no such file.
            CorruptSnapshot: the manifest was altered, or another version of this program wrote it.
        """
        try:
            stat = os.stat(path)  # noqa: PTH116
            return _parsed(str(path), (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size))
        except (FileNotFoundError, NotADirectoryError):
            path = Path(path)
            raise NoSnapshot(
                f"There is no snapshot {path.stem} in {path.parent.parent}; see `ragft index list`."
            ) from None
        except (ValueError, KeyError, AttributeError, OSError) as error:
            raise CorruptSnapshot(f"The manifest {path} cannot be read ({error!r}); {_WAY_OUT}") from error


@lru_cache(maxsize=64)
def _parsed(path: str, state: tuple[int, ...]) -> Manifest:
    """The manifest in a file that was not touched since; cached, because a refresh needs those of all snapshots four
    times."""
    content = json.loads(Path(path).read_bytes())
    checksum, written = content.pop("checksum"), content.pop("format")
    if checksum != _checksum({"format": written, **content}):
        raise CorruptSnapshot(f"The manifest {path} differs from its checksum; {_WAY_OUT}")
    if written != FORMAT:
        raise CorruptSnapshot(f"The manifest {path} has format {written}, this program reads {FORMAT}; {_REBUILD}")
    segments = ({**entry, "vectors": VectorsEntry(**entry["vectors"])} for entry in content["segments"])
    known = {
        **content,
        "settings": ChunkSettings(**content["settings"]),
        "analysis": Analysis(**content["analysis"]),
        "segments": tuple(SegmentEntry(**entry) for entry in segments),
        "held": tuple(content["held"]),
        "files": {name: FileEntry(**entry) for name, entry in content["files"].items()},
    }
    # Manifests from before `reading` was kept have none.
    return Manifest(**{field.name: known[field.name] for field in fields(Manifest) if field.name in known})


_REBUILD = "rebuild the index with `ragft index build --rebuild`."
_WAY_OUT = f"go back to another snapshot with `ragft index rollback`, or {_REBUILD}"


def reading_hash(reading: str) -> str:
    """What `Manifest.reading` is of a text such as `index.documents.folder.reading_of` gives."""
    return blake3(reading.encode()).hexdigest()[:16]


def hash_bytes(data: bytes) -> FileEntry:
    return FileEntry(len(data), xxhash.xxh3_128_hexdigest(data))


def hash_file(path: Path) -> FileEntry:
    """Like `hash_bytes`; reads, not maps, so that a failing disk raises OSError instead of ending the process."""
    with path.open("rb", buffering=0) as file:
        digest = hashlib.file_digest(file, xxhash.xxh3_128)
        return FileEntry(file.tell(), digest.hexdigest())


def _checksum(content: Mapping[str, Any]) -> str:
    return blake3(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
