"""The file of API keys: who may call what, a line for each key.

    scope[,scope] sha256-hex [domains=name[,name]] [labels=label[,label]] [name=...] [expires=...] [requests=...]
        [tokens=...]

Knows nothing of HTTP. A line grants what it says and no more. One that is not understood grants nothing, and closes its
key even if another line grants it something; the other lines hold. Messages never repeat what could be a key.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeVar, get_args

from index.durable import locked, write_file
from index.store.filters import EVERYTHING, FilterError, Labels, parse_labels
from ragft.config.section import DOMAIN_NAME
from ragft.config.serve import Scope
from ragft.errors import UsageError

SCOPES: frozenset[str] = frozenset(get_args(Scope))
MAX_NAME = 64
# An id is told apart from others, and says nothing of its key, whose digest it begins.
ID_DIGITS = 12
_PREFIX = "ragft-"  # by which scanners of repositories recognise a key that leaked

Number = TypeVar("Number", int, float)

_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_COUNT = re.compile(r"[1-9][0-9]{0,11}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d))?", re.ASCII)
_DAYS = re.compile(r"([1-9][0-9]{0,4})d")
# Values may hold blanks, but no `=`: what stands before one is always a field, known or not.
_BEFORE_FIELD = re.compile(r"[ \t]+(?=[^\s=]+=)")
# A restriction that was mistyped must not be read as part of a label or of a name.
_MEANT_AS_FIELD = re.compile(
    r"\b(expires?|expiry|requests?|tokens?)\b[^\w,;]*\d|\bdomains?(\s*[:=]|\s+\w)", re.IGNORECASE
)
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True)
class Caller:
    """What a caller may do.

    Attributes:
        scopes: routes that it may call.
        labels: documents with any of these are open to it beside those without labels; None: all documents.
        id: what logs call it, never its key.
        name: what people call it; may be empty.
        expires: seconds since the epoch from which on it may do nothing; None: never.
        requests: how many it may send a minute; None: any number.
        tokens: of prompts and answers a minute; None: any number.
        domains: those of the server that it opens; None: all of them.
    """

    scopes: frozenset[str]
    labels: Labels = frozenset()
    id: str = ""
    name: str = ""
    expires: float | None = None
    requests: int | None = None
    tokens: int | None = None
    domains: frozenset[str] | None = None

    def opens(self, domain: str) -> bool:
        """Whether a domain is there for it at all."""
        return self.domains is None or domain in self.domains

    def joined(self, other: Caller) -> Caller:
        """What two lines for one key grant together, until the first of them expires and within both limits.

        Raises:
            UsageError: their domains differ: what the one grants must not hold in those of the other.
        """
        if self.domains != other.domains:
            raise UsageError("Another line for this key has other domains: make a key for each.")
        return replace(
            self,
            scopes=self.scopes | other.scopes,
            labels=None if self.labels is None or other.labels is None else self.labels | other.labels,
            name=self.name or other.name,
            expires=_least(self.expires, other.expires),
            requests=_least(self.requests, other.requests),
            tokens=_least(self.tokens, other.tokens),
        )

    def has_expired(self, now: float) -> bool:
        """Whether it may do nothing any more at a time in seconds since the epoch."""
        return self.expires is not None and now >= self.expires

    def fields(self) -> list[str]:
        """The fields of its line that are set, as they are written after the digest."""
        labels = [EVERYTHING] if self.labels is None else sorted(self.labels)
        values = {
            # Of none, what is not understood: a line without the field would open all.
            "domains": None if self.domains is None else ",".join(sorted(self.domains)),
            "labels": ",".join(labels) or None,
            "name": self.name or None,
            "expires": shown_moment(self.expires) if self.expires is not None else None,
            "requests": self.requests or None,
            "tokens": self.tokens or None,
        }
        return [f"{name}={value}" for name, value in values.items() if value is not None]


@dataclass(frozen=True)
class Granted:
    """What a file of keys grants.

    Attributes:
        callers: by the SHA-256 of the key in hex digits.
        faults: a sentence for each line that is not understood.
    """

    callers: dict[str, Caller] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def digest_of(key: bytes) -> str:
    """The SHA-256 of a key as hex digits, as it stands in the file of keys."""
    return hashlib.sha256(key).hexdigest()


def read_keys(file: Path) -> str:
    """The text of a file of keys.

    Raises:
        UsageError: it is not readable.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The file of API keys {file} (serve.keys) is not readable: {error}.") from None


def parse_keys(text: str, file: Path) -> Granted:
    """What a file of keys grants. Blank lines and those that begin with `#` are left out."""
    granted, closed = Granted(), set[str]()
    for number, line in _numbered(text):
        try:
            digest, caller = parse_line(line)
            known = granted.callers.get(digest)
            granted.callers[digest] = known.joined(caller) if known else caller
        except UsageError as error:
            granted.faults.append(f"{file}, line {number}: {error}")
            closed.update(found.lower() for found in _DIGEST.findall(line))
    for digest in closed:
        granted.callers.pop(digest, None)
    return granted


def parse_line(line: str) -> tuple[str, Caller]:
    """The digest that a line names, in lower case, and what it grants.

    Raises:
        UsageError: the line is not understood, with what is wrong in it.
    """
    if _CONTROL.search(line):
        raise UsageError("The line holds a control character.")
    scopes, digest, rest = [*line.split(maxsplit=2), "", "", ""][:3]
    if not _DIGEST.fullmatch(digest):
        raise UsageError(
            "This is not `scope[,scope] sha256-hex [field=value]`; `ragft keys new` makes such a line, `sha256sum` a "
            "digest."
        )
    granted = frozenset(scopes.split(","))
    if not granted <= SCOPES:
        unknown = ", ".join(sorted(name for name in granted - SCOPES if re.fullmatch("[a-z]{1,20}", name)))
        raise UsageError(f"There is no scope {unknown or 'of one of these names'}; use {', '.join(sorted(SCOPES))}.")
    fields = _fields(rest.strip())
    caller = Caller(
        scopes=granted,
        labels=_labels(fields.pop("labels", "")),
        id=digest[:ID_DIGITS].lower(),
        name=checked_name(fields.pop("name")) if "name" in fields else "",
        expires=moment(fields.pop("expires")) if "expires" in fields else None,
        requests=_count("requests", fields.pop("requests")) if "requests" in fields else None,
        tokens=_count("tokens", fields.pop("tokens")) if "tokens" in fields else None,
        domains=_domains(fields.pop("domains")) if "domains" in fields else None,
    )
    if fields:
        raise UsageError(
            f"There is no field {next(iter(fields))!a:.40}; use domains, labels, name, expires, requests and tokens."
        )
    return digest.lower(), caller


def new_key() -> str:
    """A key that nobody guesses: 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


def add_key(file: Path, key: str, caller: Caller) -> Caller:
    """Adds a line for a key to a file of keys, which is made if it is missing, readable for its owner alone.

    Returns:
        the caller as the line is read again, with its id.

    Raises:
        UsageError: the file is not readable, or the line would not be understood.
    """
    if caller.name:
        checked_name(caller.name)
    line = " ".join([",".join(sorted(caller.scopes)), digest_of(key.encode()), *caller.fields()])
    _, read = parse_line(line)
    with _changing(file) as lines:
        if lines and lines[-1] and not lines[-1].endswith("\n"):
            lines[-1] += "\n"
        lines.append(f"{line}\n")
    return read


def revoke_key(file: Path, named: str) -> tuple[str, Caller]:
    """Removes the lines of a key from a file of keys; all others stay as they are.

    Args:
        named: its id or at least four digits of it, its name, or the key itself.

    Raises:
        UsageError: no key or several are named so, or the file is not readable.
    """
    with _changing(file) as lines:
        callers = parse_keys("".join(lines), file).callers
        found = [
            digest
            for digest, caller in callers.items()
            if (named and named == caller.name)
            or (len(named) >= 4 and digest.startswith(named.lower()))
            or digest == digest_of(named.encode())
        ]
        if len(found) != 1:
            many = "Several keys" if found else "No key"
            known = ", ".join(f"{caller.id} {caller.name}".rstrip() for caller in callers.values())
            raise UsageError(f"{many} of {file} bear this id or name; there are: {known or 'none'}.")
        digest = found[0]
        lines[:] = [line for line in lines if line.lstrip().startswith("#") or digest not in line.lower()]
    return digest, callers[digest]


def moment(text: str, now: float | None = None) -> float:
    """Seconds since the epoch: `2026-12-31`, its beginning in UTC; `2026-12-31T18:00+01:00`; or with `now`, `90d` on.

    Raises:
        UsageError: it is none of these.
    """
    if now is not None and (days := _DAYS.fullmatch(text)):
        return float(int(now) + int(days[1]) * 86_400)
    try:
        if _MOMENT.fullmatch(text):
            found = datetime.fromisoformat(text)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        pass
    days_too = ", or days from now such as 90d" if now is not None else ""
    raise UsageError(f"{text!a:.40} is no date such as {date.today()}, nor a time with its zone{days_too}.")


def shown_moment(seconds: float) -> str:
    """A time in seconds since the epoch as `moment` reads it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def checked_name(text: str) -> str:
    """The name of a key, which stands in logs and in a line of the file.

    Raises:
        UsageError: it is blank, long, or not plain text.
    """
    name = text.strip()
    if not name or len(name) > MAX_NAME or not name.isprintable() or "=" in name or _MEANT_AS_FIELD.search(name):
        raise UsageError(
            f"The name of a key is plain text without `=`, of at most {MAX_NAME} characters, and not like a field."
        )
    return name


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    # Not `splitlines`, which ends lines where no editor shows an end.
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = line.strip(" \t\r")
        if line and not line.startswith("#"):
            yield number, line


def _fields(rest: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for part in _BEFORE_FIELD.split(rest) if rest else ():
        name, equals, value = part.partition("=")
        if not equals or "=" in value:
            raise UsageError("What follows the digest is not `labels=label[,label]` or another `field=value`.")
        if name in fields:
            raise UsageError(f"The field {name!a:.40} stands twice in the line.")
        fields[name] = value
    return fields


def _labels(text: str) -> Labels:
    if _MEANT_AS_FIELD.search(text):
        raise UsageError("The labels hold what reads like another field: write it as `field=value`.")
    try:
        return parse_labels(text)
    except FilterError as error:
        raise UsageError(str(error)) from None


def _domains(text: str) -> frozenset[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not re.fullmatch(DOMAIN_NAME, name):
            raise UsageError(f"The field domains takes names of domains such as desk, not {name!a:.40}.")
    return frozenset(names)


def _count(name: str, text: str) -> int:
    if not _COUNT.fullmatch(text):
        raise UsageError(f"The field {name} takes a whole number above 0, not {text!a:.40}.")
    return int(text)


def _least(first: Number | None, second: Number | None) -> Number | None:
    return min((value for value in (first, second) if value is not None), default=None)


@contextmanager
def _changing(file: Path) -> Iterator[list[str]]:
    """The lines of a file of keys with their ends, none if it is missing; what they become replaces it at once."""
    file = file.resolve()
    if not file.parent.is_dir():
        raise UsageError(f"The folder of the file of API keys {file} (serve.keys) does not exist: make it first.")
    with locked(file.with_name(f"{file.name}.lock"), wait=True, remove=True):
        lines = re.split("(?<=\n)", read_keys(file)) if file.exists() else []
        yield lines
        write_file(file, "".join(lines).encode(), private=True)
