"""Personal data in text: what looks like some and passes its check digits, and pseudonyms that stand for it.

Knows nothing of examples or files, so that whatever is written down (examples, logs, feedback) can be masked alike.
Patterns find what has a form: addresses, numbers, keys. Names of people have none; `ragft.data.names` finds those with
a model. A number with a check digit counts only if that is right, which nine of ten random numbers fail; one without
any counts only in the form, or behind the word, that people write it with. What was told once, by such a word or by the
model, is found wherever else it stands, in one text or in several that belong together.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import regex

from index.durable import locked, write_file
from ragft.config.data import PersonalKind
from ragft.data.check_digits import (
    IBAN_LENGTHS,
    belgium,
    brazil,
    finland,
    france,
    germany,
    iban,
    italy,
    luhn,
    netherlands,
    nhs,
    poland,
    spain,
    sweden,
    switzerland,
    verhoeff,
)
from ragft.errors import UsageError

PERSONAL_VERSION = 2
"""Increased whenever other values may be found in the same text."""

Kind = PersonalKind
KINDS: tuple[Kind, ...] = get_args(Kind)
"""`name` is found with a model only; see `ragft.data.names`."""

_LABELS: dict[Kind, str] = {
    "email": "EMAIL", "phone": "PHONE", "card": "CARD", "iban": "IBAN", "ip": "IP", "national_id": "ID",
    "api_key": "KEY", "name": "NAME",
}  # fmt: skip
_SECRET_FILE = "pseudonyms.key"  # noqa: S105  a file's name
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Found:
    """A personal value in a text.

    Attributes:
        start, end: where it stands: `text[start:end]`.
        value: what is the same however it is written: without blanks and dashes, in lower case.
    """

    kind: Kind
    start: int
    end: int
    value: str


Finder = Callable[[str], Sequence[Found]]
"""Finds values in a text, in any order; they may overlap."""


def find_personal(text: str, further: Finder | None = None) -> list[Found]:
    """The personal values of a text, in its order. Of those that overlap, the earliest and longest counts.

    Args:
        further: finds more, as `ragft.data.names` does.

    >>> [(found.kind, found.value) for found in find_personal("Write to Ada.L@Mail.example or +44 20 7946 0018.")]
    [('email', 'ada.l@mail.example'), ('phone', '+442079460018')]
    """
    found = [one for look in _LOOKS for one in look(text)]
    if further:
        found += further(text)
    found += _elsewhere(text, found)
    if len(found) < 2:
        return found
    chosen: list[Found] = []
    # At one place a value of a sharper kind wins: a card may look like a phone number. `_LOOKS` is in that order.
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        if not chosen or one.start >= chosen[-1].end:
            chosen.append(one)
    return chosen


def find_in_texts(texts: Sequence[str], find: Finder = find_personal) -> list[list[Found]]:
    """The personal values of texts that belong together, such as those of one row: a value that a word tells in one
    of them is found in all.

    Args:
        find: as `find_personal` does.

    Returns:
        What was found in each text, by its places there.

    >>> [len(found) for found in find_in_texts(["Is BSN 111222333 on file?", "Yes, 111222333 is."])]
    [1, 1]
    """
    found = iter(sorted(find(_BETWEEN.join(texts)), key=lambda one: one.start))
    of_texts: list[list[Found]] = []
    start, one = 0, next(found, None)
    for text in texts:
        end, own = start + len(text), list[Found]()
        while one is not None and one.start < end:
            if one.end <= end:
                own.append(Found(one.kind, one.start - start, one.end - start, one.value))
            one = next(found, None)
        of_texts.append(own)
        start = end + len(_BETWEEN)
    return of_texts


def replaced(text: str, found: Iterable[Found], name: Callable[[Found], str]) -> str:
    """The text with the values that were found in it replaced by what `name` says of each."""
    pieces, end = [], 0
    for one in found:
        pieces += [text[end : one.start], name(one)]
        end = one.end
    return "".join([*pieces, text[end:]])


def masked(text: str, name: Callable[[Found], str], further: Finder | None = None) -> tuple[str, list[Found]]:
    """The text with its personal values replaced by what `name` says of each, and what they were."""
    found = find_personal(text, further)
    return replaced(text, found, name), found


def labelled(found: Found) -> str:
    """What stands for a value where it need not be told from others: `EMAIL`."""
    return _LABELS[found.kind]


class Pseudonyms:
    """Gives a value its pseudonym: the same value always the same, and nothing else can be told from it.

    A pseudonym is a keyed hash (HMAC-SHA-256, RFC 2104, cut to 60 bits), so nothing is remembered, however many values
    there are; of a million values, two have one pseudonym with a probability below one in a million. Who lacks the
    secret cannot find a value by trying; who has it can, so this is pseudonymisation, not anonymisation.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def __call__(self, found: Found) -> str:
        """As in `EMAIL_k3v7xq5m2abc`: one word without signs, so that it fits into any house format."""
        digest = hmac.digest(self._secret, f"{found.kind}\0{found.value}".encode(), "sha256")
        return f"{_LABELS[found.kind]}_{base64.b32encode(digest)[:12].decode().lower()}"

    @property
    def fingerprint(self) -> str:
        """Tells secrets apart, and says nothing of this one."""
        return hmac.digest(self._secret, b"fingerprint", hashlib.sha256).hex()[:16]


def pseudonyms_of(workspace: Path) -> Pseudonyms:
    """Those of a workspace: its secret is made once, readable by its owner only.

    Raises:
        UsageError: the secret is damaged, so that other pseudonyms would stand for the same values.
    """
    workspace.mkdir(parents=True, exist_ok=True)
    path = workspace / _SECRET_FILE
    with locked(workspace / f".{_SECRET_FILE}.lock", wait=True):
        if not path.exists():
            write_file(path, secrets.token_hex(_SECRET_BYTES).encode() + b"\n", private=True)
        text = path.read_text(encoding="ascii", errors="replace").strip()
    if regex.fullmatch(r"[0-9a-f]{64}", text) is None:
        raise UsageError(
            f"{path} is no secret of 64 hex digits: restore it from a copy, or delete it and accept that the same "
            "values get other pseudonyms than before."
        )
    return Pseudonyms(bytes.fromhex(text))


_BETWEEN = "\n\0\n"
"""Stands between texts that are looked through as one: no pattern goes on behind it."""

# --- patterns

_B, _E = r"(?<![\w.+-])", r"(?![\w-]|\.\d)"
_EMAIL = regex.compile(
    r"(?<![\w.+%-])[\w.+%'-]{1,64}@(?:[\p{L}\d](?:[\p{L}\d-]{0,61}[\p{L}\d])?\.)+\p{L}{2,24}(?![\w-])"
)
_NOT_MAILED = regex.compile(r"(?i)^git@|\.(?:png|jpe?g|gif|svg|webp|js|css|py)$")
_IBAN = regex.compile(r"(?<!\w)[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?(?!\w)")
_CARD = regex.compile(rf"{_B}(?:[2-6]\d{{3}}(?:[ -]?\d{{4}}){{3}}|3[47]\d\d[ -]?\d{{6}}[ -]?\d{{5}}|"
                      rf"3[068]\d\d[ -]?\d{{6}}[ -]?\d{{4}}|[456]\d{{12,18}}){_E}")  # fmt: skip
_IPV4 = regex.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_VERSION = regex.compile(r"(?i)(?:\b(?:version|versions|release|build|update|v|firmware|revision|kernel)[\s:=]{0,3})$")
_IPV6 = regex.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:.]*\w)")
_PHONE = regex.compile(
    rf"{_B}(?<!\d[ ./-])(?:"
    r"(?:\+|00)[1-9]\d{0,2}(?:[ ./-]?\(?\d{1,5}\)?){2,6}"  # +49 30 1234567, 0044 (0)20 7946 0018
    r"|\(0?\d{2,4}\)[ -]?\d{3,4}[ -]?\d{2,5}"  # (030) 1234567, (555) 123-4567
    r"|[2-9]\d{2}[-.][2-9]\d{2}[-.]\d{4}"  # 555-123-4567
    r"|0[1-9](?:[ .-]\d\d){4}"  # 06 12 34 56 78
    r"|0\d{2,4}(?:[/-] ?| )\d{3,8}(?:[ -]\d{2,5}){0,3}"  # 030/1234567, 0171 234 5678
    rf"){_E}"
)
_NOT_CALLED = regex.compile(r"\+\d{1,3}(?:[ .]000)+|0[0-7]{3}(?: 0[0-7]{3})+")
"""Round amounts, `+10 000 000`, and permissions of files, `0644 0755`."""
_CURRENCY = regex.compile(
    r"(?i)\s?(?:[€$£¥]|(?:eur|usd|gbp|chf|jpy|sek|nok|dkk|pln|euros?|dollars?|pounds?|francs?)\b)"
)
_PHONE_SAID = regex.compile(
    r"(?i)\b(?:tel(?:e(?:phone|fon))?|phone(?: number)?|mobile?|cell|handy|fax|whatsapp|"
    r"call (?:me|us|him|her|them)(?: at| on)?|"
    r"ring (?:me|us)(?: on| at)?)\b[.: ]{1,3}(?:is |no\.? |number )?(\+?\d(?:[ ./()-]{0,2}\d){5,14})(?![\w-])"
)
_DATE = regex.compile(r"\d{4}[-./]\d\d?[-./]\d\d?|\d\d?[-./]\d\d?[-./]\d{4}")
_KEYS = regex.compile(
    r"(?<![\w-])(?:"
    r"sk-(?:proj-|ant-|or-)?[\w-]{20,200}|ragft-[\w-]{20,100}|(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{36,255}"
    r"|github_pat_\w{22,255}|glpat-[\w-]{20,64}|xox[abeoprs]-[\w-]{10,200}|AIza[\w-]{35}|[rs]k_(?:live|test)_\w{16,128}"
    r"|hf_[A-Za-z0-9]{30,64}|npm_[A-Za-z0-9]{36}|pypi-[\w-]{50,300}|SG\.[\w-]{22}\.[\w-]{43}"
    r"|eyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,1000}"
    r")(?![\w-])"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[\s\S]{20,8000}?-----END [A-Z ]{0,30}PRIVATE KEY-----"
)
_SAID_KEY = regex.compile(
    r"(?i)(?<![a-z])(?:api[ _-]?key|access[ _-]?key|secret(?:[ _-]?key)?|auth[ _-]?token|bearer|token|password|passwd|"
    r"passwort|pwd)\b(?:\s*[:=]\s*|\s+is\s+|\s+)[\"'`]?([^\s\"'`,;]{6,200})"
)


_NOT_DRAWN = regex.compile(
    r"[A-Za-z]+[-_]?\d{1,2}|\d+[a-z]{1,3}|\d{4}-\d\d-\d\d\S*"
    r"|(?:[A-Za-z]+/)?v?\d+(?:\.\d+)+"  # v2.1.0, HTTP/1.1
)


def _always(_: str) -> bool:
    return True


_IDS: tuple[tuple[regex.Pattern[str], Callable[[str], bool]], ...] = (
    (regex.compile(rf"{_B}(?!000|666|9)\d{{3}}-(?!00)\d\d-(?!0000)\d{{4}}{_E}"), _always),  # US SSN has no check digit
    (regex.compile(rf"{_B}756\.?\d{{4}}\.?\d{{4}}\.?\d\d{_E}"), switzerland),
    (regex.compile(rf"{_B}\d{{3}}\.\d{{3}}\.\d{{3}}-\d\d{_E}"), brazil),
    (regex.compile(rf"{_B}[12] ?\d\d ?(?:0[1-9]|1[0-2]|[2-4]\d) ?(?:\d\d|2[ABab]) ?\d{{3}} ?\d{{3}} ?\d\d{_E}"),
     france),
    (regex.compile(rf"{_B}[1-9]\d ?\d{{3}} ?\d{{3}} ?\d{{3}}{_E}"), germany),
    (regex.compile(rf"{_B}\d{{11}}{_E}"), poland),
    (regex.compile(rf"{_B}\d{{11}}{_E}"), brazil),
    (regex.compile(rf"{_B}[2-9]\d{{3}}[ -]\d{{4}}[ -]\d{{4}}{_E}"), verhoeff),  # Aadhaar
    (regex.compile(rf"{_B}\d\d\.\d\d\.\d\d-\d{{3}}\.\d\d{_E}"), belgium),
    (regex.compile(rf"{_B}(?:19|20)?\d{{6}}[-+]\d{{4}}{_E}"), sweden),
    (regex.compile(rf"{_B}[0-3]\d[01]\d\d\d[-+A-FU-Ya-fu-y]\d{{3}}[0-9A-FHJ-NPR-Ya-fhj-npr-y]{_E}"), finland),
    (regex.compile(rf"{_B}(?:\d{{8}}|[XYZxyz]-?\d{{7}})-?[A-HJ-NP-TV-Za-hj-np-tv-z]{_E}"), spain),
    (regex.compile(rf"{_B}[A-Za-z]{{6}}\d\d[A-EHLMPR-Ta-ehlmpr-t]\d\d[A-Za-z]\d{{3}}[A-Za-z]{_E}"), italy),
    (regex.compile(rf"{_B}(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]{_E}"),
     _always),  # UK National Insurance has no check digit
    # One in eleven, or in ten, numbers of nine or ten digits passes by chance: the word must stand before it.
    (regex.compile(rf"(?i)\b(?:bsn|burgerservicenummer|sofinummer)\b[^\d\n]{{0,20}}(\d{{9}}){_E}"), netherlands),
    (regex.compile(rf"(?i)\bnhs\b[^\d\n]{{0,20}}(\d{{3}}[ -]?\d{{3}}[ -]?\d{{4}}){_E}"), nhs),
    (regex.compile(rf"(?i)\b(?:sin|social insurance)\b[^\d\n]{{0,20}}(\d{{3}}[ -]?\d{{3}}[ -]?\d{{3}}){_E}"), luhn),
)  # fmt: skip

_ISO_DATE = regex.compile(r"(?<!\d)\d{4}-\d\d-\d\d(?!\d)")
_MAY_HOLD_A_NUMBER = regex.compile(r"\d(?:[\s./()A-Za-z+-]{0,3}\d){5}")
_MAY_HOLD_AN_IP = regex.compile(r"\d\.\d{1,3}\.\d|:[0-9A-Fa-f]{0,4}:")
_MAY_HOLD_A_KEY = regex.compile(
    r"(?i)sk-|ragft-|akia|asia|gh[pousr]_|github_pat|glpat-|xox|aiza|[rs]k_|hf_|npm_|pypi-|sg\.|eyj|-----begin|"
    r"key|secret|token|passw|pwd|bearer"
)
_TOLD: frozenset[Kind] = frozenset({"phone", "national_id", "api_key", "name"})
_SEPARATORS = str.maketrans("", "", " .-/()+")


def _at(kind: Kind, match: regex.Match[str], value: str, group: int = 0) -> Found:
    return Found(kind, match.start(group), match.end(group), value)


def _emails(text: str) -> Iterator[Found]:
    if "@" in text:
        for found in _EMAIL.finditer(text):
            if not _NOT_MAILED.search(found[0]):
                yield _at("email", found, found[0].casefold())


def _api_keys(text: str) -> Iterator[Found]:
    if not _MAY_HOLD_A_KEY.search(text):
        return
    for found in _KEYS.finditer(text):
        yield _at("api_key", found, found[0])
    for found in _SAID_KEY.finditer(text):
        value = found[1].rstrip(".!?")
        if len(value) >= 6 and _looks_drawn(value):
            yield Found("api_key", found.start(1), found.start(1) + len(value), value)


def _looks_drawn(value: str) -> bool:
    """Whether somebody chose or drew it to be secret: letters and digits, and no pseudonym or word with a number."""
    has_digit, has_letter = any(map(str.isdigit, value)), any(map(str.isalpha, value))
    if not (has_digit and has_letter) or regex.fullmatch(r"[A-Z]+_[a-z2-7]{12}", value):
        return False
    return _NOT_DRAWN.fullmatch(value) is None


def _ibans(text: str) -> Iterator[Found]:
    for found in _IBAN.finditer(text):
        # The words behind an IBAN may be in capitals, too: the length of its country tells where it ends.
        written = found[0].upper()
        length, value, end = IBAN_LENGTHS.get(written[:2], 0), "", found.start()
        for letter in written:
            if len(value) == length:
                break
            end += 1
            value += letter if letter.isalnum() else ""
        if iban(value) and not text[end : end + 1].isalnum():
            yield Found("iban", found.start(), end, value.casefold())


def _numbers(text: str) -> Iterator[Found]:
    # Dates have as many digits as a telephone number, and most texts have no other long numbers.
    if not _MAY_HOLD_A_NUMBER.search(_ISO_DATE.sub("d", text)):
        return
    yield from _ibans(text)
    for found in _CARD.finditer(text):
        digits = found[0].translate(_SEPARATORS)
        if luhn(digits) and len(set(digits)) > 1:
            yield _at("card", found, digits)
    for pattern, check in _IDS:
        for found in pattern.finditer(text):
            group = 1 if pattern.groups else 0
            value = found[group].translate(_SEPARATORS)
            if check(_as_checked(value, found[group], check).upper()):
                yield _at("national_id", found, value.casefold(), group)
    for found in _PHONE.finditer(text):
        if not (_NOT_CALLED.fullmatch(found[0]) or _CURRENCY.match(text, found.end())):
            yield from _phone(found[0], found.start(), 8)
    for found in _PHONE_SAID.finditer(text):
        yield from _phone(found[1], found.start(1), 6)


def _as_checked(value: str, written: str, check: Callable[[str], bool]) -> str:
    """Finland's sign between date and number tells the century, and keeps its place."""
    return written if check is finland else value


def _phone(written: str, start: int, fewest: int) -> Iterator[Found]:
    digits = written.replace("(0)", "").translate(_SEPARATORS)
    if fewest <= len(digits.removeprefix("00")) <= 15 and len(set(digits)) > 1 and not _DATE.search(written):
        international = written.startswith(("+", "00"))
        value = "+" + digits.removeprefix("00") if international else digits
        yield Found("phone", start, start + len(written), value)


def _ips(text: str) -> Iterator[Found]:
    if not _MAY_HOLD_AN_IP.search(text):
        return
    # Four numbers with points are a version as often as an address: the word before them tells, once in a text.
    fours = list(_IPV4.finditer(text))
    versions = {found[0] for found in fours if _VERSION.search(text[max(0, found.start() - 16) : found.start()])}
    for found in fours:
        if found[0] not in versions:
            yield from _ip(found)
    for found in _IPV6.finditer(text):
        if found[0].count(":") >= 3 or "::" in found[0]:
            yield from _ip(found)


def _ip(found: regex.Match[str]) -> Iterator[Found]:
    try:
        address = ipaddress.ip_address(found[0])
    except ValueError:
        return
    mask = isinstance(address, ipaddress.IPv4Address) and int(address) >= 0xF0000000  # 255.255.255.0
    if not (address.is_loopback or address.is_unspecified or mask):
        yield _at("ip", found, str(address))


def _elsewhere(text: str, found: Iterable[Found]) -> Iterator[Found]:
    """Where else values stand that a word or a model told; those with a form are found everywhere."""
    told = {(one.kind, one.value): text[one.start : one.end] for one in found if one.kind in _TOLD}
    for (kind, value), written in told.items():
        if kind in ("phone", "national_id"):
            pattern = "(?i)" + r"[ ./()-]{0,2}".join(map(regex.escape, value.removeprefix("+")))
        else:
            pattern = regex.escape(written)
        for match in regex.finditer(rf"(?<!\w|\d[.,-])(?:{pattern})(?!\w|[.,-]\d|\.\w)", text):
            yield _at(kind, match, value)


_LOOKS: tuple[Callable[[str], Iterator[Found]], ...] = (_emails, _api_keys, _numbers, _ips)
