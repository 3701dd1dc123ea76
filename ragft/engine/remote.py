"""An engine over a server that speaks OpenAI's chat completions: hosted, or another process on this machine.

Requests are tried again where that may help, so many times and no more; a server that keeps failing is given up, so
that a long run ends early. The key goes into the header of requests and nowhere else: what a server echoes of it is
masked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from ragft.engine.base import (
    ChatRequest,
    Completion,
    EngineBusy,
    EngineDead,
    NotInPlace,
    RequestRefused,
    TextRequest,
)
from ragft.errors import MissingDependency, RagftError, UsageError
from ragft.messages import Message

if TYPE_CHECKING:
    import httpx

TRIES = 4
"""Times that a request is sent before it counts as failed."""

GIVE_UP = 5
"""Requests that may fail one after the other before the server counts as dead."""

_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_HOPELESS = frozenset({401, 403, 404})  # whatever is asked, the answer will be the same
_LONGEST_PAUSE = 30.0  # seconds, whatever the server asks for
_EVENT, _DONE = "data:", "[DONE]"


class Refused(RequestRefused):
    """The server does not answer this request.

    Attributes:
        reason: the server's, without its address.
    """

    def __init__(self, message: str, status: int, reason: str) -> None:
        super().__init__(message, status)
        self.reason = reason


class RemoteEngine:
    """One model behind an address; see `ragft.engine.base.Engine`. Few servers tell token ids."""

    def __init__(
        self, url: str, model: str, key: str = "", *, timeout: float = 120.0, pause: float = 1.0, tries: int = TRIES
    ) -> None:
        """Opens nothing yet.

        Args:
            url: what stands before `/chat/completions`, as in `https://api.example.com/v1`.
            model: the name of the model there.
            key: the API key; empty: none is sent.
            timeout: seconds that a whole answer may take.
            pause: seconds before the second try; each next one waits twice as long.
            tries: times that a request is sent before it counts as failed.
        """
        self.url, self.model = url.rstrip("/"), model
        self._tries = tries
        self._key, self._timeout, self._pause = key, timeout, pause
        self._client: httpx.AsyncClient | None = None
        self._failures = 0

    @property
    def version(self) -> str:
        """Over address and name: what stands behind them may change, and nobody says so."""
        return blake3(f"{self.url}\0{self.model}".encode()).hexdigest()[:16]

    def preload(self) -> None: ...

    async def start(self) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingDependency("A remote model needs httpx: install ragft[remote].") from error
        headers = {"authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx.AsyncClient(headers=headers, timeout=self._timeout)
        self._failures = 0

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def drain(self) -> None:
        """Answers of a server that others use, too, are theirs to wait for."""

    async def replace(self, folder: Path) -> None:
        raise NotInPlace(f"What {self.url} serves is not for ragft to replace.")

    def forgive(self) -> None:
        """Forgets how often it failed, so that it is asked again."""
        self._failures = 0

    async def check_health(self) -> None:
        if self._failures >= GIVE_UP:
            raise EngineDead(f"{self.url} failed to answer {self._failures} requests in a row.")

    def prompt_length(self, messages: Sequence[Message], tools: Any = None) -> int:
        """0: how the model reads a conversation is not known here."""
        return 0

    async def chat(self, request: ChatRequest) -> Completion:
        begin = time.perf_counter()
        body = await self._answered(request)
        total_ms = (time.perf_counter() - begin) * 1000
        try:
            first = body["choices"][0]
            text, reason = first["message"].get("content"), first.get("finish_reason")
            if not isinstance(text, str | None):
                raise TypeError
            prompt_ids, ids = tuple(body.get("prompt_token_ids") or ()), tuple(first.get("token_ids") or ())
        except (KeyError, IndexError, TypeError, AttributeError):
            self._failures += 1
            raise RagftError(f"{self.url} answered something that is no chat completion.") from None
        self._failures = 0
        return Completion(body, text or "", ids, prompt_ids, str(reason or "stop"), None, total_ms)

    async def only_model(self) -> str:
        """The name of the only model there.

        Raises:
            RagftError: the server cannot be reached, or has several models or none.
        """
        with self._errors():
            response = await self._started().get(f"{self.url}/models")
            if response.status_code != 200:
                raise self._refusal(response)
            try:
                names = [str(one["id"]) for one in response.json()["data"]]
            except (KeyError, TypeError):
                raise RagftError(f"{self.url}/models lists no models.") from None
        if len(names) != 1:
            raise RagftError(f"{self.url} has {len(names)} models: name one of {', '.join(names[:9]) or 'them'}.")
        return names[0]

    async def complete(self, request: TextRequest) -> dict[str, Any]:
        body = await self._answered(request)
        if not isinstance(body, dict) or not body.get("choices"):
            self._failures += 1
            raise RagftError(f"{self.url} answered something that is no completion.")
        self._failures = 0
        return body

    async def stream(self, request: ChatRequest | TextRequest) -> AsyncGenerator[dict[str, Any], None]:
        """As `Engine.stream`; a stream that began is not tried again."""
        client = self._started()
        path, body = self._asked(request)
        unfinished = _choices(request)
        with self._errors():
            headers = dict(request.trace_headers)
            async with client.stream("POST", path, json={**body, "stream": True}, headers=headers) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise self._refusal(response)
                async for line in response.aiter_lines():
                    content = line.removeprefix(_EVENT).strip() if line.startswith(_EVENT) else ""
                    if content == _DONE:
                        break
                    if content:
                        chunk = self._chunk(json.loads(content))
                        unfinished -= sum(bool(one.get("finish_reason")) for one in chunk["choices"])
                        yield chunk
        if unfinished > 0:
            # A connection that was cut looks like one that ended, and a server may end a stream that it gave up.
            raise RagftError(f"{self.url} ended the stream amid the answer.")

    def _chunk(self, event: Any) -> dict[str, Any]:
        """What an event of a stream holds, if that is a chunk.

        Raises:
            RagftError: it tells of an error, or is something else.
        """
        choices = event.get("choices") if isinstance(event, dict) else None
        if isinstance(choices, list) and all(isinstance(one, dict) for one in choices):
            found: dict[str, Any] = event
            return found
        error = event.get("error") if isinstance(event, dict) else None
        if not isinstance(error, dict):
            raise RagftError(f"{self.url} streamed something that is no chunk.")
        # The status of the stream was sent before the error was known: the event has the one that fits.
        code = error.get("code")
        raise self._refused(code if isinstance(code, int) and code >= 400 else 500, event)

    def _asked(self, request: ChatRequest | TextRequest) -> tuple[str, dict[str, Any]]:
        """Address and body of a request."""
        common = {**request.options, "model": self.model}
        if isinstance(request, ChatRequest):
            return f"{self.url}/chat/completions", {**common, "messages": list(request.messages)}
        return f"{self.url}/completions", {**common, "prompt": request.prompt}

    async def _answered(self, request: ChatRequest | TextRequest) -> dict[str, Any]:
        """The body of the answer, after as many tries as it takes and is allowed."""
        client = self._started()
        path, body = self._asked(request)
        await self.check_health()
        for number in range(1, self._tries + 1):
            pause = min(self._pause * 2 ** (number - 1), _LONGEST_PAUSE)
            try:
                with self._errors():
                    response = await client.post(path, json=body, headers=dict(request.trace_headers))
                    if response.status_code == 200:
                        found: dict[str, Any] = response.json()
                        return found
                    if response.status_code not in _PASSING:
                        self._failures += response.status_code in _HOPELESS
                        raise self._refusal(response)
                    pause = _asked_for(response.headers, pause)
                    raise self._refusal(response)
            except RequestRefused:
                raise
            except RagftError as error:
                if number == self._tries:
                    self._failures += 1
                    raise type(error)(f"{error} It was tried {number} times." if number > 1 else str(error)) from None
            await asyncio.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _started(self) -> httpx.AsyncClient:
        if self._client is None:
            raise EngineDead("The engine is not running: start it first.")
        return self._client

    def _refusal(self, response: httpx.Response) -> RagftError:
        """The exception for an answer that is none."""
        body = None
        with contextlib.suppress(ValueError):
            body = response.json()
        return self._refused(response.status_code, body)

    def _refused(self, status: int, body: Any) -> RagftError:
        """The exception for a status, and the error body that came with it, if one did."""
        reason = f"HTTP {status}"
        with contextlib.suppress(KeyError, TypeError, IndexError):
            reason += f", {body['error']['message']}"
        reason = self._masked(reason)[:300]
        sentence = f"{self.url} refused the request ({reason})."
        if status == 429:
            return EngineBusy(sentence)
        if status in _PASSING:
            return RagftError(sentence)
        return Refused(sentence, status, reason)

    def _masked(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Translates what httpx and json raise."""
        import httpx

        try:
            yield
        except httpx.TimeoutException:
            raise RagftError(f"{self.url} did not answer within {self._timeout:.0f} s.") from None
        except httpx.HTTPError as error:
            reason = self._masked(f"{type(error).__name__}: {error}")
            raise RagftError(f"{self.url} cannot be reached ({reason[:300]}).") from None
        except ValueError as error:
            if isinstance(error, RagftError):
                raise
            raise RagftError(f"{self.url} answered something that is no JSON.") from None


def _asked_for(headers: Mapping[str, str], pause: float) -> float:
    """The seconds that a server asks to wait, in bounds; else the pause."""
    try:
        return min(max(float(headers.get("retry-after", pause)), 0.0), _LONGEST_PAUSE)
    except ValueError:
        return pause


def key_in(variable: str | None, needed_by: str, remedy: str = "set it") -> str:
    """The API key in a variable of the environment; empty where none is named.

    Args:
        needed_by: the key of the configuration that names it.

    Raises:
        UsageError: the variable is not set.
    """
    if variable is None:
        return ""
    if not os.environ.get(variable):
        raise UsageError(f"{needed_by} needs a key in the environment variable {variable}, which is not set: {remedy}.")
    return os.environ[variable]


def _choices(request: ChatRequest | TextRequest) -> int:
    """How many answers a stream consists of."""
    prompt = [] if isinstance(request, ChatRequest) else request.prompt
    prompts = len(prompt) if not isinstance(prompt, str) and prompt and not isinstance(prompt[0], int) else 1
    return prompts * (request.options.get("n") or 1)
