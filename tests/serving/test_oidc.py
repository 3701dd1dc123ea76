"""Tokens of an identity provider: really signed, and really wrong."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from litestar import Litestar
from litestar.testing import TestClient
from pydantic import ValidationError
from support.serving import until

from ragft.config.serve import JwtSection, ServeSection
from ragft.errors import UsageError
from ragft.keys import Caller
from serving.errors import ApiError
from serving.oidc import FETCH_SECONDS, FRESH_SECONDS, STALE_SECONDS, Issuer
from serving.security import Keys, digest_of

ISSUER, AUDIENCE = "https://id.example.org/", "ragft"
DAY = 86_400  # tokens are made when tests are collected, and may be asked about much later
RSA, OTHER_RSA = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
WEAK_RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
EC = ec.generate_private_key(ec.SECP256R1())


def as_jwk(key: Any, name: str | None, **more: Any) -> dict[str, Any]:
    algorithm = (
        jwt.algorithms.ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else jwt.algorithms.RSAAlgorithm
    )
    named = {"kid": name} if name is not None else {}
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), **named, "use": "sig", **more}


def public(key: Any) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def token(key: Any = RSA, algorithm: str = "RS256", name: str | None = "one", **claims: Any) -> bytes:
    now = time.time()
    content = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ada",
        "exp": now + DAY,
        "iat": now,
        "scope": "ragft:chat",
        **claims,
    }
    content = {claim: value for claim, value in content.items() if value is not None}
    return jwt.encode(content, key, algorithm, {"kid": name} if name is not None else {}).encode()


def forged(header: dict[str, Any], key: bytes | None = None) -> bytes:
    """A token that no library would make: alg none, or HMAC with the public key as its secret."""
    import base64
    import hashlib
    import hmac

    claims = jwt.decode(token(), options={"verify_signature": False})
    head, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims))
    signature = hmac.digest(key, head + b"." + body, hashlib.sha256) if key is not None else b""
    return b".".join([head, body, base64.urlsafe_b64encode(signature).rstrip(b"=")])


def write_set(file: Path, *keys: dict[str, Any]) -> Path:
    file.write_text(json.dumps({"keys": keys}))
    return file


def settings(source: object, **more: Any) -> JwtSection:
    return JwtSection.model_validate({"issuer": ISSUER, "audience": AUDIENCE, "jwks": str(source), **more})


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    keys = (
        as_jwk(RSA, "one"),
        as_jwk(EC, "two"),
        as_jwk(RSA, "signs-512", alg="RS512"),
        {"kty": "oct", "k": "c2VjcmV0"},
    )
    return Issuer(settings(write_set(tmp_path / "jwks.json", *keys, as_jwk(OTHER_RSA, "enc", use="enc"))))


def ask(issuer: Issuer, sent: bytes) -> Caller:
    return asyncio.run(issuer.caller(sent))


def test_a_signed_token_grants_what_its_claims_are_mapped_to(issuer: Issuer) -> None:
    assert ask(issuer, token()) == Caller(frozenset({"chat"}), frozenset(), id="jwt:ada")
    found = ask(issuer, token(EC, "ES256", "two", scope="ragft:chat openid ragft:admin chat", aud=["x", AUDIENCE]))
    assert found.scopes == {"chat", "admin"}
    for scope in (None, "", "admin", 7, {"ragft:admin": True}, [["ragft:admin"]]):
        assert ask(issuer, token(scope=scope)).scopes == frozenset()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (token(exp=time.time() - 100), "expired"),
        (token(nbf=time.time() + DAY), "not valid yet"),
        (token(exp=None), "lacks a claim"),
        (token(exp="9999999999"), "no number"),
        (token(sub=None), "lacks a claim"),
        (token(sub=""), "subject"),
        (token(sub="a\ud800"), "subject"),
        (token(aud="another"), "another service"),
        (token(aud=None), "lacks a claim"),
        (token(iss="https://evil.example.org/"), "another issuer"),
        (token(iss=ISSUER.rstrip("/")), "another issuer"),
        (token(OTHER_RSA), "signature"),
        (token(name="three"), "not one of the issuer's"),
        (token(name=None), "not one of the issuer's"),  # there are several
        (token(OTHER_RSA, name="enc"), "not one of the issuer's"),
        (token(algorithm="RS512"), "algorithm"),
        (token(name="signs-512"), "algorithm"),
        (token(EC, "ES256", "one"), "cannot be read"),
        (forged({"alg": "none", "typ": "JWT"}), "algorithm"),
        (forged({"alg": "None", "kid": "one"}), "algorithm"),
        (forged({"alg": "HS256", "kid": "one"}, public(RSA)), "algorithm"),
        (forged({"alg": "RS256", "kid": "one"}, public(RSA)), "signature"),
        (forged({"alg": "RS256", "kid": ["one"]}), "cannot be read"),
        (forged({"alg": ["RS256"], "kid": "one"}), ""),
        (forged({"alg": "RS256", "kid": "one", "crit": ["x"], "x": 1}, public(RSA)), ""),
        (token()[:-2], ""),
        (b"a.b.c", "cannot be read"),
        (b"..", "cannot be read"),
        (b"\xff.\xff.\xff", "cannot be read"),
        (token(scope="x" * 9000), "too long"),
    ],
)  # fmt: skip
def test_a_token_that_is_wrong_in_any_way_is_refused(issuer: Issuer, sent: bytes, reason: str) -> None:
    with pytest.raises(ApiError, match=reason) as refused:
        ask(issuer, sent)
    assert refused.value.status == 401 and len(refused.value.message) < 200


def test_the_clock_of_the_issuer_may_differ_by_the_leeway(issuer: Issuer) -> None:
    assert ask(issuer, token(exp=time.time() - 20)).id == "jwt:ada"


def test_a_token_is_checked_once_until_it_ends(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[Any] = []
    decode = jwt.decode
    monkeypatch.setattr(jwt, "decode", lambda *given, **more: checked.append(given) or decode(*given, **more))
    sent = token()
    assert ask(issuer, sent) is ask(issuer, sent) and len(checked) == 1
    ask(issuer, token(sub="bob"))
    assert len(checked) == 2
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2 * DAY)
    ask(issuer, sent)
    assert len(checked) == 3


def test_a_weak_key_of_the_issuer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ApiError) as refused:
        ask(Issuer(settings(write_set(tmp_path / "jwks.json", as_jwk(WEAK_RSA, "weak")))), token(WEAK_RSA, name="weak"))
    assert refused.value.status == 401


def test_a_token_without_a_name_of_its_key_needs_a_set_of_one(tmp_path: Path) -> None:
    assert (
        ask(Issuer(settings(write_set(tmp_path / "jwks.json", as_jwk(RSA, "one")))), token(name=None)).id == "jwt:ada"
    )
    twice = write_set(tmp_path / "jwks.json", as_jwk(RSA, "one"), as_jwk(OTHER_RSA, "one"), as_jwk(EC, "two"))
    with pytest.raises(ApiError, match="not one of the issuer's"):
        ask(Issuer(settings(twice)), token())


def test_labels_come_from_a_claim_and_never_open_everything_by_themselves(tmp_path: Path) -> None:
    file = write_set(tmp_path / "jwks.json", as_jwk(RSA, "one"))

    def labels(value: Any, **more: Any) -> Any:
        issuer = Issuer(settings(file, labels_claim="realm.groups", **more))
        return ask(issuer, token(realm={"groups": value})).labels

    assert labels(["staff", "human  resources", "*", "a,b", "x=y", "", 7]) == {"staff", "human resources"}
    assert labels("*") == labels(None) == labels({"staff": 1}) == frozenset()
    mapping = {"team-1": ["staff", "board"], "root": ["*"]}
    assert labels(["team-1", "staff"], labels=mapping) == {"staff", "board"}
    assert labels(["root"], labels=mapping) is None
    with pytest.raises(UsageError, match=r"serve\.jwt\.labels"):
        labels([], labels={"x": ["a,b"]})


def test_a_claim_decides_which_domains_are_open_and_what_it_does_not_name_is_closed(tmp_path: Path) -> None:
    file = write_set(tmp_path / "jwks.json", as_jwk(RSA, "one"))

    def domains(value: Any, **more: Any) -> Any:
        issuer = Issuer(settings(file, **{"domains_claim": "realm.groups", **more}))
        return ask(issuer, token(realm={"groups": value})).domains

    assert domains(["desk", "hr", 7, "*"]) == {"desk", "hr", "*"}  # no domain is called `*`
    assert domains("desk") == {"desk"} and domains("desk hr") == {"desk hr"}
    assert domains(None) == domains({"desk": 1}) == domains([]) == frozenset()
    assert domains(["team-1", "desk"], domains={"team-1": ["hr"]}) == {"hr"}
    assert domains(["desk"], domains_claim=None) is None
    with pytest.raises(ValidationError, match="no domains_claim"):
        JwtSection(domains={"team-1": ("hr",)})


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"keys": []}', b'{"keys": [{"kty": "oct", "k": "eA"}]}', b"\xff"]
)
def test_a_file_without_public_keys_is_refused_before_anything_is_loaded(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "jwks.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"serve\.jwt\.jwks"):
        Issuer(settings(tmp_path / "jwks.json"))
    with pytest.raises(UsageError, match=r"serve\.jwt\.jwks"):
        Issuer(settings(tmp_path / "missing.json"))


@pytest.mark.parametrize(
    "values",
    [
        {"issuer": ISSUER}, {"issuer": ISSUER, "audience": "a"}, {"jwks": "file"}, {"algorithms": ["HS256"]},
        {"algorithms": ["none"]}, {"algorithms": []}, {"issuer": ISSUER, "audience": "", "jwks": "file"},
        {"issuer": ISSUER, "audience": "a", "jwks": "http://id.example.org/keys"}, {"scopes": {"x": ["root"]}},
        {"issuer": ISSUER, "audience": "a", "jwks": "http://127.0.0.1.example.org/keys"},
    ],
)  # fmt: skip
def test_a_section_that_would_accept_too_much_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ServeSection.model_validate({"jwt": values})


@contextmanager
def provider() -> Iterator[tuple[str, list[dict[str, Any]], list[str]]]:
    """An identity provider: the address of its keys, its keys, and what was fetched."""
    keys: list[dict[str, Any]] = []
    fetched: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fetched.append(self.path)
            body = json.dumps({"keys": keys}).encode()
            self.send_response(200 if keys else 500)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/keys", keys, fetched
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_keys_are_fetched_for_an_unknown_one_and_at_most_once_a_minute() -> None:
    now = 1000.0
    with provider() as (address, keys, fetched):
        issuer = Issuer(settings(address), lambda: now)

        async def status(sent: bytes) -> int:
            try:
                await issuer.caller(sent)
            except ApiError as error:
                return error.status
            return 200

        async def story() -> None:
            nonlocal now
            assert await status(token()) == 503 and len(fetched) == 1  # the provider is down
            keys[:] = [as_jwk(RSA, "one")]
            assert await status(token()) == 503 and len(fetched) == 1
            now += FETCH_SECONDS
            assert await asyncio.gather(*(status(token()) for _ in range(5))) == [200] * 5 and len(fetched) == 2
            keys[:] = [as_jwk(OTHER_RSA, "new")]
            old, new = token(), token(OTHER_RSA, name="new")
            for _ in range(20):
                assert await status(new) == 401 and await status(old) == 200
            assert len(fetched) == 2
            now += FETCH_SECONDS
            assert await status(new) == 200  # the first token waits for the new key
            assert await status(old) == 401 and len(fetched) == 3  # the old one is withdrawn
            now += FRESH_SECONDS + 1
            keys[:] = [as_jwk(RSA, "one")]
            assert await status(new) == 200  # nobody waits for keys that are known
            while await status(new) == 200:
                await asyncio.sleep(0.01)
            assert len(fetched) == 4
            keys.clear()
            now += STALE_SECONDS
            assert await status(token()) == 503  # keys of yesterday may have been withdrawn since

        asyncio.run(story())


def test_requests_with_tokens_and_with_keys_are_answered_side_by_side(
    make_app: Callable[..., Litestar], tmp_path: Path
) -> None:
    file = write_set(tmp_path / "jwks.json", as_jwk(RSA, "one"))
    section = settings(file, requests=2).model_dump()
    app = make_app(keys=Keys({digest_of(b"key"): Caller(frozenset({"chat"}))}), jwt=section, host="0.0.0.0")
    with TestClient(app, base_url="http://example.org") as client:
        until(lambda: client.get("/health/ready").status_code == 200)

        def status(path: str, sent: bytes | str) -> int:
            sent = sent.decode() if isinstance(sent, bytes) else sent
            return client.get(path, headers={"authorization": f"Bearer {sent}"}).status_code

        assert status("/v1/models", "key") == status("/v1/models", token()) == 200
        assert status("/admin/versions", token()) == 403
        assert status("/v1/models", token()) == 429 and status("/v1/models", token(sub="bob")) == 200
        assert status("/v1/models", token(exp=1)) == status("/v1/models", "a.b.c") == status("/v1/models", "a") == 401
        assert client.get("/v1/models").status_code == 401


def test_tokens_alone_close_the_endpoint(make_app: Callable[..., Litestar], tmp_path: Path) -> None:
    file = write_set(tmp_path / "jwks.json", as_jwk(RSA, "one"))
    with TestClient(make_app(jwt=settings(file).model_dump()), base_url="http://localhost") as client:
        assert client.get("/v1/models").status_code == 401
