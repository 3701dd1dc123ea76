"""Numbers that people and their accounts have, told from others of that form by their check digits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15,
    "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24, "SI": 19,
    "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
"""Lengths by country, from the registry of ISO 13616."""


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B: payment cards and some national numbers."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def iban(text: str) -> bool:
    """ISO 13616: the length of its country, and ISO 7064 MOD 97-10 over letters as numbers."""
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(letter, 36)) for letter in text[4:] + text[:4])) % 97 == 1


def _mod_11_10(digits: str) -> bool:
    """ISO 7064 MOD 11,10."""
    product = 10
    for digit in digits[:-1]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (product + int(digits[-1])) % 10 == 1


def _weighted(digits: str, weights: Sequence[int], modulus: int) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False)) % modulus


def verhoeff(digits: str) -> bool:
    """Verhoeff (1969), over the dihedral group of ten elements."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        moved = int(digit)
        for _ in range(place % 8):
            moved = int("1576283094"[moved])
        check = _dihedral(check, moved)
    return check == 0


def _dihedral(one: int, other: int) -> int:
    if one < 5:
        return (one + other) % 5 if other < 5 else 5 + (one + other) % 5
    return 5 + (one - other) % 5 if other < 5 else (one - other) % 5


def _is_day(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def germany(digits: str) -> bool:
    """Steueridentifikationsnummer: one digit of the first ten stands there two or three times."""
    times = sorted(digits[:10].count(digit) for digit in set(digits[:10]))
    return digits[0] != "0" and times[-1] in (2, 3) and times[:-1] == [1] * (len(times) - 1) and _mod_11_10(digits)


def poland(digits: str) -> bool:
    """PESEL: the century is in the month."""
    year, month, day = int(digits[:2]), int(digits[2:4]), int(digits[4:6])
    century = {0: 1900, 1: 2000, 2: 2100, 3: 2200, 4: 1800}.get(month // 20, 0)
    born = bool(century) and _is_day(century + year, month % 20, day)
    return born and _weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), 10) == 0


def brazil(digits: str) -> bool:
    """CPF: two check digits."""
    if len(set(digits)) == 1:
        return False
    for length in (9, 10):
        rest = _weighted(digits[:length], range(length + 1, 1, -1), 11)
        if int(digits[length]) != (0 if rest < 2 else 11 - rest):
            return False
    return True


def spain(text: str) -> bool:
    """DNI and NIE: the letter is the number modulo 23."""
    number = text[:-1].translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[-1]


def italy(text: str) -> bool:
    """Codice fiscale: characters at odd places count by a table of their own."""
    odd = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
    values = [int(c) if c.isdigit() else ord(c) - 65 for c in text[:15]]
    total = sum(odd[value] if place % 2 == 0 else value for place, value in enumerate(values))
    return chr(65 + total % 26) == text[15]


def france(digits: str) -> bool:
    """NIR: 13 digits and a key modulo 97; Corsica's letters count as 19 and 18."""
    body = digits[:13].replace("2A", "19").replace("2B", "18")
    return 97 - int(body) % 97 == int(digits[13:])


def finland(text: str) -> bool:
    """Henkilötunnus: the last character is nine digits modulo 31."""
    return "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(text[:6] + text[7:10]) % 31] == text[10]


def sweden(digits: str) -> bool:
    """Personnummer: a date, and Luhn over its last ten digits; a coordination number adds 60 to the day."""
    short = digits[-10:]
    return _is_day(2000 + int(short[:2]) % 4 * 4, int(short[2:4]), (int(short[4:6]) - 1) % 60 + 1) and luhn(short)


def belgium(digits: str) -> bool:
    """Rijksregisternummer: modulo 97, with a 2 before it for those born from 2000 on."""
    return any(97 - int(born + digits[:9]) % 97 == int(digits[9:]) for born in ("", "2"))


def nhs(digits: str) -> bool:
    """NHS number: modulus 11."""
    return (11 - _weighted(digits[:9], range(10, 1, -1), 11)) % 11 == int(digits[9])


def netherlands(digits: str) -> bool:
    """Burgerservicenummer: the eleven test."""
    return int(digits) > 0 and _weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1), 11) == 0


def switzerland(digits: str) -> bool:
    """AHV number: EAN-13."""
    return _weighted(digits, (1, 3) * 6 + (1,), 10) == 0
