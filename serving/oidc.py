"""Tokens of an identity provider (OIDC) as callers: signature, issuer, audience and time first, then the claims.

The issuer's public keys are fetched off the event loop, and only a token that names an unknown one waits for that.
Claims grant what the configuration says of their values; what it does not name grants nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jwt

from index.documents.formats.labels import fault_of_label, label_name
from index.store.filters import EVERYTHING, Labels
from ragft.config.serve import JwtSection
from ragft.errors import UsageError
from ragft.keys import Caller
from serving.errors import ApiError

log = logging.getLogger("ragft.serving")

# Seconds: between two fetches; after which keys are fetched anew though all are known, so that one that was withdrawn
# goes; after which the last keys are not believed any more; and for which a token waits for its key.
FETCH_SECONDS = 60.0
FRESH_SECONDS = 600.0
STALE_SECONDS = 86_400.0
WAIT_SECONDS = 5.0

MAX_TOKEN_BYTES = 8_192
MAX_CHECKED = 10_000
_MAX_SET_BYTES = 1_000_000
_REQUIRED = ["exp", "iss", "aud", "sub"]

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "it has expired"),
    (jwt.ImmatureSignatureError, "it is not valid yet"),
    (jwt.InvalidAudienceError, "it is meant for another service"),
    (jwt.InvalidIssuerError, "another issuer made it"),
    (jwt.InvalidAlgorithmError, "its algorithm is not accepted"),
    (jwt.InvalidSignatureError, "its signature is wrong"),
    (jwt.MissingRequiredClaimError, "it lacks a claim"),
)


class Issuer:
    """The identity provider whose tokens are accepted."""

    def __init__(self, settings: JwtSection, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Raises:
            UsageError: the file of public keys is not readable or holds none, or a label cannot be one.
        """
        self._settings = settings
        source = settings.jwks or ""
        self._keys = PublicKeys(source, clock)
        if not source.startswith(("http://", "https://")):
            self._keys.read_now()
        for labels in (settings.labels or {}).values():
            _labels(labels)
        # Callers by the digests of their tokens, with the times when these end: to check a signature takes longer than
        # all else before a request. They hold for as long as the very keys that they were checked with are fresh.
        self._checked: dict[bytes, tuple[Caller, float]] = {}
        self._checked_with: float | None = None

    async def caller(self, token: bytes) -> Caller:
        """Who holds a token.

        Raises:
            ApiError: 401: it is not valid here, with the reason; 503: the issuer's keys cannot be had.
        """
        fetched = self._keys.fresh_since()
        if fetched is None or fetched != self._checked_with or len(self._checked) >= MAX_CHECKED:
            self._checked, self._checked_with = {}, fetched
        digest = hashlib.sha256(token).digest()
        caller, end = self._checked.get(digest, (None, 0.0))
        if caller is None or time.time() >= end:
            claims = await self._claims(token)
            caller = self._caller(claims)
            self._checked[digest] = caller, claims["exp"] + self._settings.leeway
        return caller

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        settings = self._settings
        scopes = {scope for value in _values(claims, settings.scopes_claim) for scope in settings.scopes.get(value, ())}
        return Caller(
            frozenset(scopes), self._labels(claims), id=f"jwt:{claims['sub'][:200]}",
            requests=settings.requests, tokens=settings.tokens, domains=self._domains(claims),
        )  # fmt: skip

    def _domains(self, claims: Mapping[str, Any]) -> frozenset[str] | None:
        settings = self._settings
        if settings.domains_claim is None:
            return None
        values = _values(claims, settings.domains_claim, words=False)
        if settings.domains is not None:
            return frozenset(domain for value in values for domain in settings.domains.get(value, ()))
        return frozenset(values)

    async def _claims(self, token: bytes) -> dict[str, Any]:
        settings = self._settings
        if len(token) > MAX_TOKEN_BYTES:
            raise _refused("it is too long")
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in settings.algorithms:
                raise jwt.InvalidAlgorithmError
            key = await self._keys.named(header.get("kid"))
            if key is None:
                raise _refused("its key is not one of the issuer's")
            accepted = [name for name in settings.algorithms if key.fits(name)]
            if header["alg"] not in accepted:
                raise jwt.InvalidAlgorithmError
            claims: dict[str, Any] = jwt.decode(
                token, key.key, algorithms=accepted, audience=settings.audience, issuer=settings.issuer,
                leeway=settings.leeway,
                options={"require": _REQUIRED, "enforce_minimum_key_length": True},
            )  # fmt: skip
        except ApiError:
            raise
        except Exception as error:  # whatever a hostile token makes of a parser
            reason = next((said for kind, said in _REASONS if isinstance(error, kind)), "it cannot be read")
            raise _refused(reason) from None
        if not isinstance(claims["exp"], int | float):
            raise _refused("its end is no number")
        if not claims["sub"] or not claims["sub"].isprintable():
            raise _refused("its subject is no plain text")
        return claims

    def _labels(self, claims: Mapping[str, Any]) -> Labels:
        settings = self._settings
        if settings.labels_claim is None:
            return frozenset()
        values = _values(claims, settings.labels_claim, words=False)
        if settings.labels is not None:
            return _labels(label for value in values for label in settings.labels.get(value, ()))
        # A value that cannot be the label of a document, as `*`, opens none.
        return frozenset(name for name in map(label_name, values) if fault_of_label(name) is None)


class PublicKey:
    """One key of an issuer, and the algorithms for which it may be used."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        """
        Raises:
            ValueError: it is not for checking signatures, or not public.
            jwt.PyJWTError: it cannot be understood.
        """
        if content.get("kty") not in ("RSA", "EC", "OKP") or "d" in content:
            raise ValueError("it is not a public key")
        if content.get("use", "sig") != "sig" or "verify" not in content.get("key_ops", ["verify"]):
            raise ValueError("it is not for signatures")
        self._algorithm: str | None = content.get("alg")
        self.key = jwt.PyJWK(dict(content)).key

    def fits(self, algorithm: str) -> bool:
        """Whether the issuer lets the key be used with an algorithm."""
        return self._algorithm in (None, algorithm)


class PublicKeys:
    """The public keys of an issuer, from a file or an address, as they were when last fetched."""

    def __init__(self, source: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._source, self._clock = source, clock
        self._keys: dict[str | None, PublicKey] = {}
        self._fetched = -STALE_SECONDS
        self._tried = -FETCH_SECONDS
        self._fetching: asyncio.Task[None] | None = None

    def read_now(self) -> None:
        """Fetches the keys before anything else.

        Raises:
            UsageError: that failed.
        """
        try:
            self._take(_fetch(self._source))
        except Exception as error:
            raise UsageError(f"The public keys of serve.jwt.jwks = {self._source} cannot be used: {error}.") from None

    def fresh_since(self) -> float | None:
        """When the keys were fetched, which tells them from later ones; None if that is long ago."""
        return self._fetched if self._clock() - self._fetched <= FRESH_SECONDS else None

    async def named(self, name: Any) -> PublicKey | None:
        """The key of a name, which a token may leave out if there is a single one; None if the issuer has none such.

        Raises:
            ApiError: 503: there are no keys, because they cannot be fetched.
        """
        age = self._clock() - self._fetched
        if name in self._keys and age < STALE_SECONDS:
            if age > FRESH_SECONDS:
                self._fetch_soon()
            return self._keys[name]
        if (fetching := self._fetch_soon()) is not None:
            await asyncio.wait([fetching], timeout=WAIT_SECONDS)
        if self._clock() - self._fetched >= STALE_SECONDS:
            raise ApiError(
                503, "Tokens cannot be checked at the moment: try again later.", retry_after=int(FETCH_SECONDS)
            )
        return self._keys.get(name)

    def _fetch_soon(self) -> asyncio.Task[None] | None:
        """The fetch that runs, or a new one; None if the last one began less than a minute ago."""
        if self._fetching is None and self._clock() - self._tried >= FETCH_SECONDS:
            self._tried = self._clock()
            self._fetching = asyncio.create_task(self._update())
        return self._fetching

    async def _update(self) -> None:
        try:
            self._take(await asyncio.to_thread(_fetch, self._source))
        except Exception as error:
            log.error("the public keys of %s cannot be had, the last ones stay: %s", self._source, error)
        finally:
            self._fetching = None

    def _take(self, content: bytes) -> None:
        found: dict[str | None, PublicKey] = {}
        twice = set[str | None]()
        for item in json.loads(content)["keys"]:
            try:
                name, key = item.get("kid"), PublicKey(item)
            except (ValueError, TypeError, AttributeError, jwt.PyJWTError):
                continue  # of a kind that is not used here
            twice.update({name} & found.keys())
            found[name] = key
        for name in twice:
            del found[name]  # which of them is meant cannot be told
        if not found:
            raise ValueError("it holds no public key for signatures")
        if len(found) == 1:
            found[None] = next(iter(found.values()))
        self._keys, self._fetched = found, self._clock()


def _fetch(source: str) -> bytes:
    """The content of a file or an address.

    Raises:
        Exception: whatever prevents that.
    """
    if not source.startswith(("http://", "https://")):
        return Path(source).read_bytes()
    import httpx

    content, end = b"", time.monotonic() + WAIT_SECONDS
    # Redirections are not followed: the configuration says whom to believe.
    with httpx.stream("GET", source, timeout=WAIT_SECONDS, follow_redirects=False) as answer:
        answer.raise_for_status()
        for part in answer.iter_bytes():
            content += part
            if len(content) > _MAX_SET_BYTES or time.monotonic() > end:
                raise ValueError(f"it is larger than {_MAX_SET_BYTES} bytes, or comes too slowly")
    return content


def _values(claims: Mapping[str, Any], name: str, *, words: bool = True) -> list[str]:
    """The texts in a claim: those of a list, or the words of a text (or the text). Of anything else, none."""
    value: Any = claims.get(name)
    if value is None and "." in name:
        value = claims
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, str):
        return value.split() if words else [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _labels(names: Iterable[str]) -> Labels:
    """Labels that the configuration names.

    Raises:
        UsageError: no document can have one of them.
    """
    found = {label_name(name) for name in names}
    if EVERYTHING in found:
        return None
    if fault := next(filter(None, map(fault_of_label, sorted(found))), None):
        raise UsageError(f"serve.jwt.labels has a label that no document can have: {fault}.")
    return frozenset(found)


def _refused(reason: str) -> ApiError:
    return ApiError(401, f"This token is not valid here: {reason}.")
