"""Writes numbers as lists of office files count: 3, c, iii, 三."""

from __future__ import annotations

from collections.abc import Callable

_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
    (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip
_LATIN = "abcdefghijklmnopqrstuvwxyz"
_RUSSIAN = "абвгдежзиклмнопрстуфхцчшщыэюя"
_HEAVENLY_STEMS = "甲乙丙丁戊己庚辛壬癸"
_EARTHLY_BRANCHES = "子丑寅卯辰巳午未申酉戌亥"
_AIUEO = "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン"
_IROHA = "イロハニホヘトチリヌルヲワカヨタレソツネナラムウヰノオクヤマケフコエテアサキユメミシヱヒモセスン"
_GANADA = "가나다라마바사아자차카타파하"
_CHOSUNG = "ㄱㄴㄷㄹㅁㅂㅅㅇㅈㅊㅋㅌㅍㅎ"
_ARABIC = "أبتثجحخدذرزسشصضطظعغفقكلمنهوي"
_HANZI = "〇一二三四五六七八九"
_LONGEST_LETTERS = 20


def counted(number: int, form: str) -> str:
    """A number in one of the forms that WordprocessingML names, such as `lowerRoman`; others are written in digits."""
    write = _FORMS.get(form)
    return write(number) if write is not None and number > 0 else str(number)


def _roman(number: int) -> str:
    if number >= 4000:
        return str(number)
    text = ""
    for value, letters in _ROMAN:
        text += letters * (number // value)
        number %= value
    return text


def _letters(alphabet: str) -> Callable[[int], str]:
    """Letters of an alphabet, which repeat after the last one as Word repeats them: a, b, ..., z, aa, bb."""

    def write(number: int) -> str:
        times, place = divmod(number - 1, len(alphabet))
        return alphabet[place] * (times + 1) if times < _LONGEST_LETTERS else str(number)

    return write


def _shifted(zero: str) -> Callable[[int], str]:
    """Decimal digits of another script, whose zero is given."""
    return lambda number: "".join(chr(ord(zero) + int(digit)) for digit in str(number))


def _enclosed(first: str, most: int) -> Callable[[int], str]:
    """One character for each number up to `most`, such as ① to ⑳."""
    return lambda number: chr(ord(first) + number - 1) if number <= most else str(number)


def _hanzi(number: int) -> str:
    """Chinese numerals below 100 in words (二十三), larger ones digit by digit."""
    if number >= 100:
        return "".join(_HANZI[int(digit)] for digit in str(number))
    tens, ones = divmod(number, 10)
    return (_HANZI[tens] if tens > 1 else "") + ("十" if tens else "") + (_HANZI[ones] if ones else "")


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


_FORMS: dict[str, Callable[[int], str]] = {
    "decimalZero": lambda number: f"{number:02d}",
    "lowerRoman": _roman,
    "upperRoman": lambda number: _roman(number).upper(),
    "lowerLetter": _letters(_LATIN),
    "upperLetter": _letters(_LATIN.upper()),
    "ordinal": _ordinal,
    "russianLower": _letters(_RUSSIAN),
    "russianUpper": _letters(_RUSSIAN.upper()),
    "ideographTraditional": _letters(_HEAVENLY_STEMS),
    "ideographZodiac": _letters(_EARTHLY_BRANCHES),
    "aiueo": _letters(_AIUEO),
    "aiueoFullWidth": _letters(_AIUEO),
    "iroha": _letters(_IROHA),
    "irohaFullWidth": _letters(_IROHA),
    "ganada": _letters(_GANADA),
    "chosung": _letters(_CHOSUNG),
    "arabicAlpha": _letters(_ARABIC),
    "chineseCounting": _hanzi,
    "chineseCountingThousand": _hanzi,
    "taiwaneseCounting": _hanzi,
    "taiwaneseCountingThousand": _hanzi,
    "japaneseCounting": _hanzi,
    "ideographDigital": lambda number: "".join(_HANZI[int(digit)] for digit in str(number)),
    "decimalFullWidth": _shifted("０"),
    "decimalFullWidth2": _shifted("０"),
    "thaiNumbers": _shifted("๐"),
    "hindiNumbers": _shifted("०"),
    "decimalEnclosedCircle": _enclosed("①", 20),
    "decimalEnclosedCircleChinese": _enclosed("①", 20),
    "decimalEnclosedParen": _enclosed("⑴", 20),
    "decimalEnclosedFullstop": _enclosed("⒈", 20),
    "numberInDash": lambda number: f"- {number} -",
    "hex": lambda number: f"{number:X}",
}
