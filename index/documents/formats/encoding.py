"""Decodes text files: by byte order mark, as UTF-8, in a legacy encoding that the text proves, or as the file says.

A text that no encoding fits well enough is refused, and so is one that mixes two: wrong letters would be found by
nobody and believed by some.
"""

from __future__ import annotations

import codecs
import contextlib
import re

from index.documents.formats.encoding_guess import guess
from index.documents.formats.settings import Unreadable

_MARKS = (
    # The longer ones first: the mark of UTF-32 begins with that of UTF-16.
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_SUPERSETS = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874",
    "shift_jis": "cp932", "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "euc_kr": "cp949",
    "utf-16": "utf-8", "utf-16-le": "utf-8", "utf-16-be": "utf-8", "utf-32": "utf-8", "utf-7": "utf-8",
}  # fmt: skip
"""What browsers read where a page names another encoding (https://encoding.spec.whatwg.org/#names-and-labels): a larger
one, and UTF-8 where its own ASCII letters rule out what it says. The names are those of Python's codecs."""

_NAMES = {"x-sjis": "shift_jis", "ks_c_5601-1987": "euc_kr", "x-gbk": "gbk", "iso-8859-8-i": "iso8859-8"}
"""Names in use that Python does not know."""

_ESCAPES = re.compile(rb"\x1b\$(?:[@B]|\([@ABCDH]|[)*][CAGH])")
"""Where a text in ISO-2022 changes to other letters. All its bytes are ASCII."""
_ESCAPED_OUT = re.compile("[\x0e\x0f\x1b]")
_SEVEN_BIT = ("iso2022_kr", "iso2022_jp_2", "iso2022_jp_ext")

_MULTI_BYTE = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
"""A character in UTF-8 beyond ASCII."""
_ASCII = bytes(range(0x80))


def decode(data: bytes, declared: str | None = None) -> str:
    """Decode a file, with line ends as `\\n` and without a byte order mark.

    Args:
        data: content of the file.
        declared: encoding that the file names, understood as browsers do; used if there is no byte order mark, the file
            is not UTF-8, and the text does not prove another one.

    Raises:
        Unreadable: the file is binary, mixes encodings, or no encoding fits well enough.
    """
    text = _marked(data)
    if text is None:
        text = _unmarked(data, declared)
    if "\0" in text:
        raise Unreadable(f"binary content (a zero character at offset {text.index(chr(0))})")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _marked(data: bytes) -> str | None:
    """The text of a file with a byte order mark; None if it has none."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding)
            except UnicodeDecodeError as error:
                declared = f"{encoding.upper()}, which its byte order mark declares,"
                raise Unreadable(f"not valid {declared} at byte offset {len(mark) + error.start}") from None
    return None


def _unmarked(data: bytes, declared: str | None) -> str:
    if b"\0" in data:
        raise Unreadable(f"binary content (a zero byte at offset {data.index(0)})")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return _legacy(data, error.start, declared)
    return text if _ESCAPES.search(data) is None else _seven_bit(data)


def _seven_bit(data: bytes) -> str:
    for encoding in _SEVEN_BIT:
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode(encoding)
            if _ESCAPED_OUT.search(text) is None:
                return text
    raise Unreadable("it changes letters by the escape sequences of ISO-2022, which are not valid; save it as UTF-8")


def _legacy(data: bytes, place: int, declared: str | None) -> str:
    """The text of a file that is not UTF-8, which shows at the byte offset `place`."""
    where = f"not valid UTF-8 at byte offset {place} (line {data.count(bytes([10]), 0, place) + 1})"
    rest, in_utf8 = _MULTI_BYTE.subn(b"", data)
    if in_utf8 >= len(rest.translate(None, _ASCII)):
        raise Unreadable(f"{where}, although the rest is: it mixes encodings or is cut off; save the file as UTF-8")
    encoding = _codec(declared)
    for candidate in (guess(data, encoding), encoding):
        with contextlib.suppress(UnicodeDecodeError):
            if candidate is not None:
                return data.decode(candidate)
    raise Unreadable(f"{where}, and no other encoding fits well enough; save the file as UTF-8")


def _codec(label: str | None) -> str | None:
    """The codec that reads what a page calls by this name; None if there is none."""
    try:
        found = codecs.lookup(_NAMES.get(label.strip().lower(), label)) if label is not None else None
    except LookupError:
        return None
    if found is None or not found._is_text_encoding:
        return None
    return codecs.lookup(_SUPERSETS.get(found.name, found.name)).name.replace("-", "_")
