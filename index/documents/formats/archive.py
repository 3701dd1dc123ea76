"""Opens the archive of a zipped format; a zip bomb is refused before any of it is unpacked."""

from __future__ import annotations

import io
import zipfile
import zlib

from index.documents.formats.settings import Limits, Unreadable, first_line

DAMAGED = (zipfile.BadZipFile, zlib.error, ValueError, RuntimeError, OSError, EOFError)
"""What opening a damaged archive, or reading a part of it, raises."""

OLD_OFFICE = b"\xd0\xcf\x11\xe0"
"""How the binary files of old office programs begin, and the newer ones that need a password."""

_RATIO_FROM = 2**20
_MOST_PARTS = 10_000


def open_archive(data: bytes, limits: Limits, kind: str) -> zipfile.ZipFile:
    """Open an archive, and check what it declares to hold; `zipfile` never unpacks more than a part declares.

    Args:
        kind: name of the format, for messages.

    Raises:
        Unreadable: it is no zip archive, or it unpacks to more than the limits allow.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except DAMAGED as error:
        raise Unreadable(f"not a readable {kind} file ({first_line(error)})") from None
    parts = archive.infolist()
    if len(parts) > _MOST_PARTS:
        raise Unreadable(f"{len(parts)} parts, more than {_MOST_PARTS}")
    total = sum(part.file_size for part in parts)
    if total > limits.expanded_bytes:
        raise Unreadable(f"{total} bytes unpacked, more than {limits.expanded_bytes}")
    if total > _RATIO_FROM and total > limits.expansion_ratio * len(data):
        raise Unreadable(f"unpacks to {total / len(data):.0f} times its size, more than {limits.expansion_ratio:g}")
    return archive
