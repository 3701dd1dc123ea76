"""Guesses the legacy encoding of a text, and says nothing rather than something wrong.

A guess must be proven by the text: it has frequent words of a language, no letter that this language does not have, and
no reading in another encoding is nearly as good. For the encodings of Chinese, Japanese and Korean, the proof is where
their characters lie: each encoding keeps common characters apart from rare ones, of which a wrong reading consists.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from index.documents.formats.encoding_languages import LANGUAGES, Language

_SAMPLE = 1 << 13
"""Number of bytes from which an encoding is guessed; lines that are not ASCII come first."""

_LEAST_EVIDENCE, _LEAST_SHARE = 4, 0.08
"""Fewest letters in frequent words, in all and per word of the text, of a text in a known language. A word counts three
letters at most."""
_MOST_DOUBTFUL = 0.4
"""Share of the evidence for the best reading from which a second one counts against it."""
_MOST_NOISE = 0.02
"""Largest share of improbable places among the words with letters beyond ASCII."""

_WORD = re.compile(r"[^\W\d_]+")
_NOISE = re.compile(
    r"[^\W\d_][^\w\s\x00-\x7f\xad\u200c\u200d’‘´·…–—״׳-]+[^\W\d_]"  # a symbol in a word: `gę¶l±` for `gęślą`
    r"|(?![a-zA-Z])[^\W\d_][0-9]"  # `Ł5` for `£5`
    r"|[^\W\d_]µ|[¤¦]"  # `vµavo` for `vľavo`; signs that nobody uses
)
_MISPLACED = re.compile(
    r"[^\W\d_][^\w\s\x00-\x7f\xad\u200c\u200d’‘”“»›·…–—®™°²³¹´״׳]"  # after a word, where it has no place: `¶`
    r"|[^\w\s\x00-\x7f\xad\u200c\u200d’‘“”„‚«»‹›¿¡·…–—§†‡״׳][^\W\d_]"  # before a word: `¶λλο` for `Άλλο`
)
_CONTROL = re.compile(r"[\x80-\x9f]")
_CASELESS = frozenset("µªº")
_UTF8_IN_LATIN = re.compile(rb"[\xc2-\xc5][\x80-\xbf]|\xe2(?:\x80[\x90-\xba]|\x82\xac)")
_UTF8_IN_OTHERS = re.compile(rb"(?:[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}){2,}")
_UTF8_IN_DOUBLE = re.compile(
    rb"(?:[\xe0-\xef][\x80-\xbf]{2}){3,}|(?:[\xce\xcf][\x80-\xbf]){6,}|(?:[\xd0\xd1][\x80-\xbf]){6,}"
    rb"|[a-z](?:[\xc3-\xc5][\x80-\xbf])+[a-z]"
)
"""What is hardly ever so by chance in Chinese, Japanese or Korean: words in UTF-8, and letters inside Latin words."""
_TYPOGRAPHIC = frozenset("‐‑‒–—‘’‚“”„†‡•…‰‹›€\xa0°§£©®«»")

_LEAST_CHARACTERS, _LEAST_COMMON = 10, 0.95
"""Fewest characters of two bytes, and the share of common ones, that prove an encoding of East Asia."""


def guess(data: bytes, declared: str | None = None) -> str | None:
    """The encoding of a text that is not UTF-8, as Python names it; None if it is not sure.

    Args:
        declared: encoding that the text itself names; preferred if its reading is proven, too.
    """
    sample = _sample(data)
    return _double_byte(data, sample) or _single_byte(data, sample, declared)


def _sample(data: bytes) -> bytes:
    if len(data) <= _SAMPLE:
        return data
    # Whole lines, because the two bytes of a character must not be parted; a first line of any length.
    lines: list[bytes] = []
    length = 0
    for line in data.split(b"\n"):
        if not line.isascii():
            lines.append(line)
            length += len(line) + 1
            if length > _SAMPLE:
                break
    return b"\n".join(lines)


# --- one byte per character


@dataclass(frozen=True, slots=True)
class _Reading:
    """A sample as one encoding reads it.

    Attributes:
        words: how often each word occurs, in lower case.
        letters: all letters and marks beyond ASCII, in lower case.
        foreign: number of words with such letters.
        noise: share of improbable places among those words.
        misplaced: number of symbols where letters are more probable.
    """

    encoding: str
    text: str
    words: Counter[str]
    letters: frozenset[str]
    foreign: int
    noise: float
    misplaced: int

    def evidence(self, language: Language) -> int:
        """How many letters of the text are in frequent words of a language; 0 if it cannot be in that language."""
        if not self.letters <= language.letters or self.noise > _MOST_NOISE:
            return 0
        if not language.has_spaces:
            return sum(self.text.count(word) * len(word) for word in language.words)
        return sum(self.words[word] * min(len(word), 3) for word in language.words)

    def is_proven(self, evidence: int, language: Language) -> bool:
        """Whether so much evidence is enough for a text of this length."""
        # Markup and code among the words of another script say nothing.
        total = self.words.total() if language.is_latin else self.foreign
        return evidence >= max(_LEAST_EVIDENCE, _LEAST_SHARE * total)


def _single_byte(data: bytes, sample: bytes, declared: str | None) -> str | None:
    proofs = sorted(_proofs(sample, declared), key=lambda proof: proof[0], reverse=True)
    proven = [proof for proof in proofs if proof[1].is_proven(proof[0], proof[2])]
    if not proven:
        return None
    most, reading, language = next((proof for proof in proven if proof[1].encoding == declared), proven[0])
    if reading.encoding != declared and any(
        count >= _MOST_DOUBTFUL * most and other.text != reading.text for count, other, _ in proofs
    ):
        return None
    try:
        text = data.decode(reading.encoding)
    except UnicodeDecodeError:
        return None
    if not _letters(text) <= language.letters or _mixes_utf8(data, language):
        return None
    return reading.encoding


def _proofs(sample: bytes, declared: str | None) -> Iterator[tuple[int, _Reading, Language]]:
    """The readings that are a text in a language, with the evidence for it."""
    readings: dict[str, _Reading | None] = {}
    for language in LANGUAGES:
        proven: list[tuple[int, _Reading]] = []
        for encoding in language.encodings:
            if encoding not in readings:
                readings[encoding] = _reading(sample, encoding)
            reading = readings[encoding]
            if reading is not None and (evidence := reading.evidence(language)):
                proven.append((evidence, reading))
        # The same words in several encodings: those with fewer symbols at places where letters stand.
        least = min((reading.misplaced for _, reading in proven), default=0)
        yield from (
            (evidence, reading, language)
            for evidence, reading in proven
            if reading.misplaced == least or reading.encoding == declared
        )


def _reading(sample: bytes, encoding: str) -> _Reading | None:
    try:
        text = sample.decode(encoding)
    except UnicodeDecodeError:
        return None
    if _CONTROL.search(text) is not None:
        return None
    letters = _letters(text)
    bare = text.translate(dict.fromkeys((ord(letter) for letter in letters if not letter.isalpha()), None))
    words: Counter[str] = Counter()
    foreign = odd = 0
    for word, count in Counter(_WORD.findall(bare)).items():
        words[_lower(word)] += count
        if not word.isascii():
            foreign += count
            odd += count * (_has_odd_case(word) or _mixes_scripts(word))
    noise = (odd + len(_NOISE.findall(bare))) / max(foreign, 1)
    unpaired = abs(bare.count("«") - bare.count("»"))
    return _Reading(encoding, text, words, letters, foreign, noise, len(_MISPLACED.findall(bare)) + unpaired)


def _lower(text: str) -> str:
    """Lower case, without the dot above that Python keeps of a Turkish İ."""
    return text.lower().replace("i\u0307", "i")


def _letters(text: str) -> frozenset[str]:
    found = {letter for letter in set(_lower(text)) if letter > "\x7f" and letter not in _CASELESS}
    return frozenset(letter for letter in found if unicodedata.category(letter)[0] in "LM")


def _has_odd_case(word: str) -> bool:
    """Whether a word has capitals in its middle, as in a reading that exchanges large and small letters."""
    return word.lower() != word.upper() and not word.isupper() and not word[1:].islower() and len(word) > 1


def _mixes_scripts(word: str) -> bool:
    return max(word) > "\u0370" and any(letter.isascii() for letter in word)


def _mixes_utf8(data: bytes, language: Language) -> bool:
    """Whether parts of a text in a legacy encoding are UTF-8."""
    for match in (_UTF8_IN_LATIN if language.is_latin else _UTF8_IN_OTHERS).finditer(data):
        characters = match.group().decode("utf-8", "replace")
        if all(_lower(letter) in language.letters or letter in _TYPOGRAPHIC for letter in characters):
            return True
    return False


# --- two bytes per character


@dataclass(frozen=True, slots=True)
class _DoubleByte:
    """An encoding of Chinese, Japanese or Korean.

    Attributes:
        is_sign: whether two bytes are punctuation and the like, which prove nothing.
        is_common: whether two bytes are a common character.
        is_typical: whether two bytes are one of those that every text has, and few readings of another encoding have.
        least_typical: smallest share of typical characters.
    """

    encoding: str
    is_sign: Callable[[int, int], bool]
    is_common: Callable[[int, int], bool]
    is_typical: Callable[[int, int], bool]
    least_typical: float

    def fits(self, text: str) -> bool:
        """Whether a text that was decoded with this encoding was written in it."""
        total = common = typical = 0
        for character, count in Counter(character for character in text if character > "\x7f").items():
            code = character.encode(self.encoding)
            first, second = (code[0], code[1]) if len(code) == 2 else (0, 0)
            if self.is_sign(first, second):
                continue
            total += count
            common += count * self.is_common(first, second)
            typical += count * self.is_typical(first, second)
        return total >= _LEAST_CHARACTERS and common >= _LEAST_COMMON * total and typical >= self.least_typical * total


_DOUBLE_BYTE = (
    # Hiragana and katakana, and the characters of level 1 of JIS X 0208.
    _DoubleByte(
        "cp932",
        lambda first, second: first == 0x81 or (first == 0x82 and second < 0x9F),
        lambda first, second: first in (0x82, 0x83) or 0x88 <= first <= 0x97 or (first == 0x98 and second <= 0x72),
        lambda first, second: first in (0x82, 0x83),
        0.15,
    ),
    _DoubleByte(
        "euc_jp",
        lambda first, second: 0xA1 <= first <= 0xA3,
        lambda first, second: first in (0xA4, 0xA5) or 0xB0 <= first <= 0xCF,
        lambda first, second: first in (0xA4, 0xA5),
        0.15,
    ),
    # Level 1 of GB 2312, which is sorted by sound: those of Hangul would all be in its first half.
    _DoubleByte(
        "gb18030",
        lambda first, second: 0xA1 <= first <= 0xA3 and second >= 0xA1,
        lambda first, second: 0xB0 <= first <= 0xD7 and second >= 0xA1,
        lambda first, second: 0xC9 <= first <= 0xD7,
        0.15,
    ),
    # Level 1 of Big5; the other encodings of this form have no second byte below 0xA1 there.
    _DoubleByte(
        "cp950",
        lambda first, second: 0xA1 <= first <= 0xA3,
        lambda first, second: 0xA4 <= first <= 0xC6,
        lambda first, second: second < 0x80,
        0.15,
    ),
    # The Hangul syllables of KS X 1001.
    _DoubleByte(
        "cp949",
        lambda first, second: 0xA1 <= first <= 0xA3 and second >= 0xA1,
        lambda first, second: 0xB0 <= first <= 0xC8 and second >= 0xA1,
        lambda first, second: 0xB0 <= first <= 0xC8,
        0.7,
    ),
)


def _double_byte(data: bytes, sample: bytes) -> str | None:
    fitting: list[str] = []
    for kind in _DOUBLE_BYTE:
        try:
            text = sample.decode(kind.encoding)
            if kind.fits(text):
                data.decode(kind.encoding)
                fitting.append(kind.encoding)
        except UnicodeDecodeError:
            continue
    return fitting[0] if len(fitting) == 1 and _UTF8_IN_DOUBLE.search(data) is None else None
