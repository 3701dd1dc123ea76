"""One model on several OpenAI-compatible servers, as vLLM's own: one answers for another that is down or busy.

Prompts are those that an engine in this process would be asked. Each server is shown one at the start, and must read it
as the very token ids that this process renders; who renders otherwise would answer other prompts than were evaluated.
Conversations that begin alike go to the same server, whose cache knows the beginning, unless it is much busier than
another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from blake3 import blake3

from ragft.artifacts import model_version
from ragft.engine.asking import Rendering, body_of, within
from ragft.engine.base import ChatRequest, Completion, EngineBusy, NotInPlace, RequestRefused, TextRequest
from ragft.engine.remote import Refused, RemoteEngine, key_in
from ragft.errors import RagftError, UsageError
from ragft.messages import Message, turn
from ragft.templates import TemplateOptions

if TYPE_CHECKING:
    from ragft.config import EngineSection

log = logging.getLogger("ragft.engine")

LOOK_SECONDS = 2.0  # between two looks at a server that is down
LOOK_TIMEOUT = 10.0  # seconds that a server has for the one token of a look; a whole answer may take far longer
CROWDED = 4  # more running answers than on the least busy server send a conversation there
PROBE = "Are you there?"
# By these a server says that the request is at fault. By any other, such as 401 for its key or 404 for its model, it
# says that nobody should ask it at the moment.
_REQUESTS_FAULT = frozenset({400, 413, 422})


@dataclass
class Member:
    """One of the servers.

    Attributes:
        running: answers in progress there.
        down: why it is not asked; empty: it is.
    """

    engine: RemoteEngine
    running: int = 0
    down: str = ""

    @property
    def url(self) -> str:
        return self.engine.url


class PoolEngine:
    """See `ragft.engine.base.Engine`; all calls must come from the event loop that started it."""

    def __init__(
        self, folder: Path, settings: EngineSection, *, model: str = "tuned",
        template: TemplateOptions = TemplateOptions(), **_: Any,  # noqa: B008
    ) -> None:  # fmt: skip
        """See `ragft.engine.open`; what concerns an engine's memory and queue is the servers' own business.

        Args:
            folder: the model that the servers have; its tokenizer, template and version are read here.
            model: which of `engine.servers`: `base` or `tuned`.

        Raises:
            UsageError: no servers are named for this model, or the key of one is not in the environment.
        """
        self.folder = folder
        self._settings, self._rendering = settings, Rendering(folder, template)
        servers = settings.servers.get(model, ())  # type: ignore[call-overload]
        if not servers:
            raise UsageError(f"engine.backend is remote, but engine.servers names none for the {model} model.")
        self.members = [
            Member(RemoteEngine(one.url, one.model or "", key_in(one.key_variable, "engine.servers"), tries=1))
            for one in servers
        ]
        self._looking: list[asyncio.Task[None]] = []

    @cached_property
    def version(self) -> str:
        """Of the model's folder here, which the servers are trusted to have."""
        return model_version(self.folder)

    def preload(self) -> None: ...

    async def start(self) -> None:
        """Ask every server whether it is there and renders alike.

        Raises:
            RagftError: none is there, or one renders other token ids.
        """
        await asyncio.to_thread(lambda: self._rendering.template)
        try:
            await asyncio.gather(*(member.engine.start() for member in self.members))
            await asyncio.gather(*map(self._look, self.members))
            if all(member.down for member in self.members):
                reasons = "; ".join(member.down for member in self.members)
                raise RagftError(f"No server of engine.servers answers: {reasons}")
        except BaseException:
            await self.close()
            raise
        self._looking = [asyncio.create_task(self._keep_looking(member)) for member in self.members]

    async def close(self) -> None:
        looking, self._looking = self._looking, []
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
        await asyncio.gather(*(member.engine.close() for member in self.members))

    async def drain(self) -> None:
        while any(member.running for member in self.members):
            await asyncio.sleep(0.05)

    async def replace(self, folder: Path) -> None:
        raise NotInPlace("What other servers serve is not for ragft to replace.")

    async def check_health(self) -> None:
        """Nothing: servers that are down come back by themselves, and until then requests are told to come later."""

    def prompt_length(self, messages: Sequence[Message], tools: Any = None) -> int:
        return self._rendering.length(messages, tools)

    async def chat(self, request: ChatRequest) -> Completion:
        """As `Engine.chat`; a server that fails is asked no more, and the next one answers."""
        wanted = bool(request.options.get("return_token_ids"))
        asked = self._request(request, return_token_ids=True)
        failures: list[RagftError] = []
        for member in self._order(request):
            with self._running(member, failures):
                completion = await member.engine.chat(asked)
                if not wanted:
                    completion.body.pop("prompt_token_ids", None)
                    for choice in completion.body["choices"]:
                        choice.pop("token_ids", None)
                return completion
        raise self._nobody(failures)

    async def complete(self, request: TextRequest) -> dict[str, Any]:
        """As `Engine.complete`, with `chat`'s way of taking over."""
        asked = self._texts(request)
        failures: list[RagftError] = []
        for member in self._order(request):
            with self._running(member, failures):
                return await member.engine.complete(asked)
        raise self._nobody(failures)

    async def stream(self, request: ChatRequest | TextRequest) -> AsyncGenerator[dict[str, Any], None]:
        """As `Engine.stream`; until the first chunk another server may take over, afterwards none can."""
        failures: list[RagftError] = []
        asked = self._request(request) if isinstance(request, ChatRequest) else self._texts(request)
        for member in self._order(request):
            begun = False
            with self._running(member, failures):
                async with contextlib.aclosing(member.engine.stream(asked)) as chunks:
                    try:
                        async for chunk in chunks:
                            begun = True
                            yield chunk
                    except RagftError as error:
                        if begun and not _is_requests_fault(error):
                            self._failed(member, error)
                            raise _Begun(str(error)) from None
                        raise
                    if begun:
                        return
                    raise RagftError(f"{member.url} ended the stream before it began.")
        raise self._nobody(failures)

    def _request(self, request: ChatRequest, **more: Any) -> ChatRequest:
        body = {**body_of(request, self._rendering.template, self._settings.max_model_len), **more}
        return ChatRequest(body.pop("messages"), body, request.trace_headers)

    def _texts(self, request: TextRequest) -> TextRequest:
        return TextRequest(request.prompt, within(request.options, self._settings.max_model_len), request.trace_headers)

    def _order(self, request: ChatRequest | TextRequest) -> list[Member]:
        """Those that are up, the one to ask first; all of them where none is, because one may be back."""
        up = [member for member in self.members if not member.down] or self.members
        turns = request.messages[:-1] if isinstance(request, ChatRequest) else ()
        beginning = "\0".join(str(message.get("content")) for message in turns)
        # Rendezvous hashing (Thaler and Ravishankar, 1998): who is away moves nobody else's conversations.
        ranked = sorted(up, key=lambda member: blake3(f"{member.url}\0{beginning}".encode()).digest())
        idle = min(ranked, key=lambda member: member.running)
        if ranked[0].running >= idle.running + CROWDED:
            ranked.remove(idle)
            ranked.insert(0, idle)
        return ranked

    @contextlib.contextmanager
    def _running(self, member: Member, failures: list[RagftError]) -> Any:
        """Counts an answer; takes a failure down, unless it is the request's own fault."""
        member.running += 1
        try:
            yield
        except _Begun:
            raise
        except RagftError as error:
            if _is_requests_fault(error):
                # Without the address of the server, which is no business of clients.
                reason = f"The model's server refused the request ({error.reason})."
                raise RequestRefused(reason, error.status) from None
            failures.append(error)
            if not isinstance(error, EngineBusy):
                self._failed(member, error)
        finally:
            member.running -= 1

    def _failed(self, member: Member, error: RagftError) -> None:
        if not member.down:
            log.warning("%s is not asked until it answers again: %s", member.url, error)
        member.down = str(error)

    def _nobody(self, failures: list[RagftError]) -> RagftError:
        why = failures[-1] if failures else "none is up"
        return EngineBusy(f"No server of engine.servers answers ({why}): try again shortly.")

    async def _keep_looking(self, member: Member) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if member.down:
                with contextlib.suppress(RagftError):
                    await self._look(member)

    async def _look(self, member: Member) -> None:
        """Notes whether a server is there.

        Raises:
            RagftError: it is, and would answer other prompts.
        """
        request = ChatRequest([turn("user", PROBE)], {"max_tokens": 1, "temperature": 0})
        member.engine.forgive()  # it is given up here, by `down`, and not for good
        try:
            async with asyncio.timeout(LOOK_TIMEOUT):
                if not member.engine.model:
                    member.engine.model = await member.engine.only_model()
                completion = await member.engine.chat(self._request(request, return_token_ids=True))
        except TimeoutError:
            member.down = f"{member.url} did not answer a look within {LOOK_TIMEOUT:.0f} s."
            return
        except RagftError as error:
            member.down = str(error)
            return
        here = tuple(self._rendering.template.prompt(request.messages))
        if completion.prompt_token_ids and completion.prompt_token_ids != here:
            member.down = f"{member.url} renders other token ids than {self.folder.name}: it serves another model."
            raise RagftError(member.down)
        if member.down:
            log.warning("%s answers again", member.url)
        member.down = ""


def _is_requests_fault(error: RagftError) -> TypeGuard[Refused]:
    return isinstance(error, Refused) and error.status in _REQUESTS_FAULT


class _Begun(RagftError):
    """A stream failed after its first chunk."""
