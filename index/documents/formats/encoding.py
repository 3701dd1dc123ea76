"""From bytes to text: byte order marks, UTF-8, what the file declares, and then a guess that must be sure."""

from __future__ import annotations

import codecs
import re

from index.documents.formats.settings import Unreadable

_MARKS = (
    # The mark of UTF-32 begins with that of UTF-16: the longer ones come first.
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_CANDIDATES = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "iso8859_2", "iso8859_15",
    "koi8_r", "cp932", "euc_jp", "gb18030", "big5", "cp949",
]  # fmt: skip
"""What files that are not UTF-8 are in, nearly always; rarer ones only add wrong guesses."""

_COMMON = "cp1252"
"""Taken where it is among several guesses that are about equally good."""

MOST_NOISE = 0.1
"""Share of improbable character sequences that a guess may leave."""

LEAST_LANGUAGE = 0.2
"""How well the letters of a guess must fit a known language."""

_NOISE_MARGIN, _LANGUAGE_MARGIN = 0.02, 0.1
"""Guesses that are no further apart than this, and give different texts, are no answer."""

_SYMBOL_IN_A_WORD = re.compile(r"[^\W\d_][^\w\s\x00-\x7f’‘–—·…]+[^\W\d_]")
"""What letters of a sister encoding look like: `gę¶l±` for `gęślą`."""

_SAMPLE = 1 << 20
"""Bytes that an encoding is guessed from."""


def decode(data: bytes, declared: str | None = None) -> str:
    """The text of a file, with line ends as `\\n` and without a byte order mark.

    Raises:
        Unreadable: it is binary, or no encoding fits well enough.
    """
    text = _decode(data, declared)
    if "\0" in text:
        raise Unreadable(f"binary content (a zero character at offset {text.index(chr(0))})")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decode(data: bytes, declared: str | None) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding)
            except UnicodeDecodeError as error:
                place = len(mark) + error.start
                raise Unreadable(
                    f"not valid {encoding.upper()} at byte offset {place}, as its first bytes say"
                ) from None
    if b"\0" in data:
        raise Unreadable(f"binary content (a zero byte at offset {data.index(0)})")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        first = error.start
    if declared is not None:
        try:
            return data.decode(declared)
        except (LookupError, ValueError):
            pass
    guess = _guess(data)
    if guess is None:
        raise Unreadable(
            f"not valid UTF-8 at byte offset {first}, and no other encoding fits well enough; save the file as UTF-8"
        )
    return guess


def _guess(data: bytes) -> str | None:
    """The text in the most probable legacy encoding; None where that is not sure enough."""
    from charset_normalizer import from_bytes

    matches = [
        match
        for match in from_bytes(data[:_SAMPLE], cp_isolation=_CANDIDATES, enable_fallback=False)
        if match.chaos <= MOST_NOISE
        and match.coherence >= LEAST_LANGUAGE
        and _SYMBOL_IN_A_WORD.search(str(match)) is None
    ]
    if not matches:
        return None
    best = matches[0]
    near = [
        match
        for match in matches
        if match.chaos <= best.chaos + _NOISE_MARGIN and match.coherence >= best.coherence - _LANGUAGE_MARGIN
    ]
    common = any(_COMMON in (match.encoding, *match.could_be_from_charset) for match in near)
    if len(near) > 1 and not common:
        return None
    try:
        return data.decode(_COMMON if common else best.encoding)
    except UnicodeDecodeError:  # beyond the sample
        return None
