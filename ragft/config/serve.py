"""`serve`: the endpoint, and who may use it."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from ragft.config.section import FilePath, MarkedPath, Section, SetupName
from ragft.config.split import SplitSection
from ragft.setups import SETUPS

Scope = Literal["chat", "retrieve", "metrics", "admin"]
"""A group of routes that a caller may call."""

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures with a public key. None that needs a shared secret: the public key would do as one."""

_ORIGIN = re.compile(r"https?://(\[[0-9a-f:]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?")
_ON_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?/")


def _origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError("should be an origin such as https://app.example.org, in lower case and without a path or `*`")
    return text


def _safe_address(text: str) -> str:
    if text.startswith("http://") and not _ON_LOOPBACK.match(text):
        raise ValueError("should begin with https://, because whoever answers it decides which tokens are valid")
    return text


class JwtSection(Section):
    """Tokens of an identity provider (OIDC), accepted beside API keys."""

    issuer: str | None = Field(None, description="Exactly the claim `iss`. Unset: no token is accepted.")
    audience: str | None = Field(None, description="Required in the claim `aud`: tokens for others are refused.")
    jwks: Annotated[str, MarkedPath(), AfterValidator(_safe_address)] | None = Field(
        None,
        description="Address (https://...) or file of the issuer's public keys, a JWK set; read again when a token "
        "names an unknown key, at most once a minute.",
    )
    algorithms: tuple[Algorithm, ...] = Field(("RS256", "ES256"), min_length=1, description="Signatures accepted.")
    leeway: float = Field(30.0, ge=0, le=300, description="Seconds by which the issuer's clock may differ.")
    scopes_claim: str = Field(
        "scope", description="Claim that decides the scopes: a list, or words; `realm_access.roles` is nested."
    )
    scopes: dict[str, tuple[Scope, ...]] = Field(
        {"ragft:chat": ("chat",), "ragft:retrieve": ("retrieve",), "ragft:admin": ("admin",)},
        description="What each value of that claim grants; other values grant nothing.",
    )
    labels_claim: str | None = Field(
        None, description="Claim that decides the access labels, as in `groups`. Unset: open documents alone."
    )
    labels: dict[str, tuple[str, ...]] | None = Field(
        None,
        description="Access labels for each value of that claim; others give none. Unset: each value is a label.",
    )
    domains_claim: str | None = Field(
        None,
        description="Claim that decides which domains of a server with several are open, as in `groups`. Unset: all.",
    )
    domains: dict[str, tuple[str, ...]] | None = Field(
        None, description="Domains for each value of that claim; others open none. Unset: each value is a domain."
    )
    requests: int | None = Field(None, ge=1, description="Requests a minute of each subject. Unset: any number.")
    tokens: int | None = Field(
        None, ge=1, description="Tokens of prompts and answers a minute of each subject. Unset: any number."
    )

    @model_validator(mode="after")
    def _is_whole(self) -> JwtSection:
        needed = {"issuer": self.issuer, "audience": self.audience, "jwks": self.jwks}
        missing = [name for name, value in needed.items() if not value]
        if 0 < len(missing) < len(needed):
            raise ValueError(f"has no {' and no '.join(missing)}: tokens are accepted with all three or not at all")
        if self.domains is not None and self.domains_claim is None:
            raise ValueError("has domains but no domains_claim, so that every token would open every domain")
        return self


Condense = Literal["off", "heuristic", "model"]
Adapters = Literal["merged", "live"]


class ServeSection(Section):
    """The endpoint."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on; beyond loopback an API key or serve.jwt is required."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on. 0: any free one.")
    setups: tuple[SetupName, ...] = Field(("hybrid", "fine-tuned"), description="Setups to deploy, the default first.")
    adapters: Adapters = Field(
        "merged",
        description="How the tuned model is loaded, in `ragft ask` and the evaluation, too. merged: as a model of its "
        "own. live: as the base model and a LoRA adapter in one engine, so that all setups share one model's memory "
        "and another adapter serves in a second; answers take longer.",
    )
    condense: Condense = Field(
        "heuristic",
        description="How a follow-up becomes a query of its own before it is searched for, in `ragft ask` and the "
        "evaluation, too: not at all, with words of earlier questions, or rewritten by the model that answers.",
    )
    condense_deadline: float = Field(
        3.0,
        gt=0,
        description="Seconds that the model has to rewrite a follow-up before words of earlier questions are added "
        "instead; only the endpoint keeps it.",
    )
    keys: FilePath | None = Field(
        None,
        description="File of API keys, a `scope[,scope] sha256-hex [field=value]` line each (`ragft keys`); read again "
        "when it changes. RAGFT_API_KEY works without one.",
    )
    jwt: JwtSection = Field(JwtSection(), description="Tokens of an identity provider, accepted beside API keys.")
    cors: tuple[Annotated[str, AfterValidator(_origin)], ...] = Field(
        (), description="Origins whose web pages may call the endpoint, as in https://app.example.org. Empty: none."
    )
    audit_log: FilePath | None = Field(
        None, description="File to which every call of /admin/ is appended, as lines of JSON. Unset: none is written."
    )
    max_body_bytes: int = Field(2_000_000, ge=1024, description="Largest request body.")
    body_timeout: float = Field(
        10.0, gt=0, description="Seconds within which a request's head must arrive, and then its body."
    )
    write_timeout: float = Field(
        60.0, gt=0, description="Seconds that a client may leave its answer unread before its connection is closed."
    )
    drain_seconds: float = Field(20.0, ge=0, description="Seconds that answers in progress are given after SIGTERM.")
    max_queued: int = Field(64, ge=1, description="Requests that may wait before new ones are refused with 503.")
    grounding: Literal["off", "report", "refuse"] = Field(
        "report",
        description="`report`: says whether the cited passages hold what an answer says. `refuse`: refuses, too, "
        "without generating, where retrieval found too little. `off`: neither.",
    )
    refuse_by: Literal["dense", "lexical", "rank"] = Field(
        "dense", description="Score that `serve.refuse_below` is of: cosine, BM25, or the one that ranks passages."
    )
    refuse_below: float | None = Field(
        None,
        description="With `serve.grounding: refuse`, questions whose best passage scores less are refused. "
        "`ragft evaluate --suite abstention` recommends one.",
    )
    engine_restarts: int = Field(
        3, ge=0, description="Attempts in a row to rebuild an engine that died, before the process ends with status 1."
    )
    deep_health_timeout: float = Field(
        30.0, gt=0, description="Seconds that an engine has for a token, and the index for a search, in /health/deep."
    )
    metrics_port: int | None = Field(
        None, ge=1, le=65535,
        description="Port of loopback that answers /metrics without a key. Unset: only the endpoint's own, with a key.",
    )  # fmt: skip
    log_format: Literal["text", "json"] = Field("text", description="Form of the server's log, which goes to stderr.")
    request_log: Literal["none", "summary", "contents"] = Field(
        "summary",
        description="What is logged of each request. summary: route, status, times, versions; contents: question and "
        "answer, too.",
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern="^https?://",
        description="Where traces go: a collector's URL for OTLP over HTTP, as in http://127.0.0.1:4318/v1/traces. "
        "Unset: nothing is traced. Needs ragft[otel].",
    )
    documents: bool = Field(
        False, description="Let admins put and delete documents over HTTP, in the folder `uploads` of the documents."
    )
    log_questions: bool = Field(
        False,
        description="Keep each answered question for `ragft drift`; and with what a user says of an answer, question, "
        "answer and the turns before them. Personal data of `data.personal` is replaced. Only such feedback becomes "
        "examples and questions.",
    )
    feedback_days: int | None = Field(
        365,
        ge=1,
        description="Days after which feedback and questions are deleted. Unset: they are kept until they are.",
    )

    split: SplitSection = Field(SplitSection(), description="Traffic that is shared among arms, to compare them.")

    @model_validator(mode="after")
    def _splits_among_what_is_deployed(self) -> ServeSection:
        split = self.split
        if split.arms and split.name in SETUPS:
            raise ValueError(f"split.name is {split.name}, which is the name of a setup: choose another one")
        for name, arm in split.arms.items():
            if arm.setup not in self.setups:
                raise ValueError(
                    f"split.arms.{name} answers with {arm.setup}, which is not deployed: add it to serve.setups"
                )
            if arm.model is not None and not SETUPS[arm.setup].tuned:
                raise ValueError(
                    f"split.arms.{name} names a model, but {arm.setup} answers with the base: leave model out"
                )
            if split.decides == "grounded" and (self.grounding == "off" or not SETUPS[arm.setup].retrieval):
                why = "grounding is off" if self.grounding == "off" else f"{arm.setup} has no passages"
                raise ValueError(
                    f"split.decides is grounded, but {why}, so that split.arms.{name} cannot be judged by it: choose "
                    "another outcome"
                )
        return self

    @model_validator(mode="after")
    def _knows_where_to_refuse(self) -> ServeSection:
        if self.grounding == "refuse" and self.refuse_below is None:
            raise ValueError(
                "grounding is refuse but refuse_below is not set: take what `ragft evaluate --suite abstention` tells"
            )
        return self
