"""Documents of an index that were not read from the folder: removed on purpose, or only unreadable.

A file that is being written, or whose disk or permissions fail for a while, must not take its facts out of the index,
and a folder that is not mounted must not empty it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace

import pyarrow as pa

from index.documents.document import Skipped
from index.store.snapshot import DocumentEntry, Snapshot

_OLDER_CUT = "cut by older settings: "


def unreadable(missing: Set[str], skipped: Iterable[Skipped]) -> dict[str, Skipped]:
    """The missing documents that exist but cannot be read, by id and sorted, with the skip that tells why."""
    skips = {item.path: item for item in skipped if not item.by_rule}
    found = {name: _skip_of(name, skips) for name in sorted(missing)}
    return {name: item for name, item in found.items() if item is not None}


def _skip_of(document: str, skips: Mapping[str, Skipped]) -> Skipped | None:
    """The skip of a document's file, of a folder above it, or of the file that it is a part of (`file#part`)."""
    ends = [place for place, letter in enumerate(document) if letter in "/#"]
    return next((skips[document[:end]] for end in (*ends, len(document)) if document[:end] in skips), None)


def staying(entry: DocumentEntry, recut: bool) -> DocumentEntry:
    """The entry for a document whose older version stays.

    If the others are cut by new settings (`recut`), it is marked: a refresh that can read the document cuts it, too.
    """
    return replace(entry, hash=_OLDER_CUT + entry.hash) if recut and not is_of_older_cut(entry.hash) else entry


def is_of_older_cut(hash: str) -> bool:  # noqa: A002
    """Whether the hash of an entry is marked, so that its chunks may be longer than the settings allow."""
    return hash.startswith(_OLDER_CUT)


def too_many(removed: Sequence[str], base: Snapshot, documents: pa.Table, allowed: float) -> str | None:
    """Why so many documents of the live snapshot `base` may not vanish at once; None if they may.

    Args:
        removed: ids of the documents that are no longer in the folder.
        documents: documents of the new snapshot; one that is among them under another id only moved.
        allowed: largest share of the indexed documents that may vanish.
    """
    if len(removed) <= allowed * base.document_count:
        return None
    present = set(documents["hash"].to_pylist())
    gone = set(removed)
    vanished = sum(entry.id in gone and entry.hash not in present for entry in base.documents())
    share = vanished / max(base.document_count, 1)
    if share <= allowed:
        return None
    return (
        f"{vanished} of {base.document_count} indexed documents are no longer in the folder ({share:.0%}, and "
        f"{allowed:.0%} may vanish at once); check the folder, or, if they are meant to go, allow it with "
        "`ragft index refresh --allow-removal` (or raise index.refresh.allow_removal)."
    )
