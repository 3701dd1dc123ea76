"""Decodes text files: by byte order mark, as UTF-8, as the file declares, or by a guess that must be confident."""

from __future__ import annotations

import codecs
import contextlib
import re

from index.documents.formats.settings import Unreadable

_MARKS = (
    # The longer ones first: the mark of UTF-32 begins with that of UTF-16.
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
"""Encodings of nearly all files that are not UTF-8; rarer ones would only add wrong guesses."""

_COMMON = "cp1252"
"""Chosen if it is among several guesses that are about equally good."""

_MOST_NOISE = 0.1
"""Largest share of improbable character sequences in a guess."""

_LEAST_LANGUAGE = 0.2
"""Smallest fit of the letters of a guess to a known language, from 0 to 1."""

_NOISE_MARGIN, _LANGUAGE_MARGIN = 0.02, 0.1
"""Guesses whose noise and language differ by less than this are about equally good."""

_SYMBOL_IN_A_WORD = re.compile(r"[^\W\d_][^\w\s\x00-\x7f’‘–—·…]+[^\W\d_]")
"""How letters look when decoded with a related encoding: `gę¶l±` for `gęślą`."""

_SAMPLE = 1 << 20
"""Number of bytes from which an encoding is guessed."""


def decode(data: bytes, declared: str | None = None) -> str:
    """Decode a file, with line ends as `\\n` and without a byte order mark.

    Args:
        data: content of the file.
        declared: encoding that the file names; used if there is no byte order mark and the file is not UTF-8.

    Raises:
        Unreadable: the file is binary, or no encoding fits well enough.
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
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = error.start
    if declared is not None:
        with contextlib.suppress(LookupError, ValueError):
            return data.decode(declared)
    guess = _guess(data)
    if guess is None:
        raise Unreadable(
            f"not valid UTF-8 at byte offset {place}, and no other encoding fits well enough; save the file as UTF-8"
        )
    return guess


def _guess(data: bytes) -> str | None:
    """The text in the most probable legacy encoding; None if none is probable enough."""
    from charset_normalizer import from_bytes

    guesses = from_bytes(data[:_SAMPLE], cp_isolation=_CANDIDATES, enable_fallback=False)
    fitting = [match for match in guesses if match.chaos <= _MOST_NOISE and match.coherence >= _LEAST_LANGUAGE]
    matches = [match for match in fitting if _SYMBOL_IN_A_WORD.search(str(match)) is None]
    if not matches:
        return None
    best = matches[0]
    chaos, coherence = best.chaos + _NOISE_MARGIN, best.coherence - _LANGUAGE_MARGIN
    near = [match for match in matches if match.chaos <= chaos and match.coherence >= coherence]
    is_common = any(_COMMON in (match.encoding, *match.could_be_from_charset) for match in near)
    if len(near) > 1 and not is_common:
        return None
    try:
        return data.decode(_COMMON if is_common else best.encoding)
    except UnicodeDecodeError:  # beyond the sample
        return None
