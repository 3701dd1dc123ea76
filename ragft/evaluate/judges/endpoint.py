"""The judge's endpoint: the only module here that speaks to one, through OpenAI's client.

Requests are repeated where the endpoint did not answer, never where it did: at temperature 0 it would say the same.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from ragft.errors import MissingDependency, RagftError, UsageError
from ragft.evaluate.judges.rubric import Ask


class NotAnswered(Exception):
    """The endpoint did not answer a request, however often it was repeated; the message says why."""


class NotAccepted(NotAnswered):
    """The endpoint answered that it takes no such request: it is up, and may take others."""


@dataclass(frozen=True)
class Reply:
    """What a judge replied: a text, and whether it was cut off at the limit of tokens."""

    text: str
    cut_off: bool


class Endpoint:
    """An OpenAI-compatible endpoint, to be used as an asynchronous context manager."""

    def __init__(
        self, base_url: str, model: str, *, key_variable: str, max_tokens: int, retries: int, timeout: float
    ) -> None:
        """Connects to nothing yet.

        Raises:
            MissingDependency: OpenAI's client is not installed.
        """
        try:
            from openai import AsyncOpenAI
        except ModuleNotFoundError:
            raise MissingDependency(
                "A judge is asked through the package openai, which is not installed: `pip install 'ragft[serve]'`."
            ) from None
        self.base_url, self.model, self.key_variable = base_url, model, key_variable
        self._max_tokens = max_tokens
        # A local endpoint may need no key, but the client must be given one.
        key = os.environ.get(key_variable) or "none"
        self._client = AsyncOpenAI(base_url=base_url, api_key=key, max_retries=retries, timeout=timeout)
        self._format: str | None = "json_schema"

    async def __aenter__(self) -> Endpoint:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def ask(self, ask: Ask) -> Reply:
        """The judge's reply, at temperature 0.

        Raises:
            NotAnswered: this request got no answer; others may get one.
            RagftError: no request will: the key, the address or the model is wrong.
        """
        import openai

        while True:
            tried = self._format
            try:
                return await self._asked(ask, tried)
            except openai.BadRequestError as error:
                if tried is None or not _is_about_format(error):
                    raise NotAccepted(_told(error)) from None
                # Another request may have found it out meanwhile.
                if self._format == tried:
                    self._format = "json_object" if tried == "json_schema" else None
            except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
                raise UsageError(
                    f"The judge at {self.base_url} refuses the key ({_told(error)}): set the environment variable "
                    f"{self.key_variable} to one that it knows."
                ) from None
            except openai.NotFoundError as error:
                raise UsageError(
                    f"The judge at {self.base_url} knows no model {self.model!r}, or has no chat completions "
                    f"({_told(error)}): correct evaluate.judge.model or evaluate.judge.base_url."
                ) from None
            except openai.OpenAIError as error:
                raise NotAnswered(_told(error)) from None

    async def _asked(self, ask: Ask, form: str | None) -> Reply:
        options: dict[str, Any] = {}
        if form == "json_schema":
            named = {"name": "judgement", "schema": ask.schema, "strict": True}
            options["response_format"] = {"type": form, "json_schema": named}
        elif form is not None:
            options["response_format"] = {"type": form}
        answer = await self._client.chat.completions.create(
            model=self.model, messages=list(ask.messages), temperature=0.0, max_tokens=self._max_tokens, **options
        )
        if not getattr(answer, "choices", None):
            raise NotAccepted("the endpoint's answer holds no choices")
        choice = answer.choices[0]
        return Reply(choice.message.content or "", choice.finish_reason == "length")


def down(base_url: str, reason: str, kept: int) -> RagftError:
    """The error of a judge that does not answer any more."""
    return RagftError(
        f"The judge at {base_url} does not answer ({reason}): start it, or correct evaluate.judge.base_url; "
        f"{kept} replies are kept, and the same command goes on from there."
    )


def _is_about_format(error: Exception) -> bool:
    text = str(error).lower()
    return any(word in text for word in ("response_format", "json_schema", "json_object", "structured", "guided"))


def _told(error: Exception) -> str:
    """What an error says, in one line that is not long."""
    cause = f": {error.__cause__}" if error.__cause__ is not None else ""
    text = " ".join(f"{str(error).rstrip('.')}{cause}".split())
    return text if len(text) <= 200 else f"{text[:199]}…"
