"""The engine over real vLLM with the packaged model."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from support import PYTHONPATH
from support.engines import MODEL, SETTINGS, EngineThread
from support.serving import until

from ragft.engine import vllm_streams
from ragft.engine.base import ChatRequest, Completion, EngineDead, NotInPlace, PromptTooLong, RequestRefused
from ragft.engine.children import cause, deaf_to_ctrl_c, stderr_of_children
from ragft.engine.vllm import VllmEngine
from ragft.engine.vllm_process import of_openmp, variables, variables_change
from ragft.errors import RagftError
from ragft.models import resolve_model
from ragft.prompts import Message, conversation
from ragft.templates import Template

MESSAGES = conversation("You are helpful.", "What is the capital of France?")
LONG_ANSWER = conversation("You are a writer.", "Write a very long story about a dragon, at least a thousand words.")
slow = pytest.mark.slow


def ask(thread: EngineThread, messages: list[Message], **options: Any) -> Completion:
    return thread.call(thread.engine.chat(ChatRequest(messages, options)))


@slow
@pytest.mark.parametrize(
    "messages",
    [
        MESSAGES,
        conversation("  spaces and\nlines  ", "Why?\t", ["A passage.", "<|im_end|> in a passage"]),
        [*MESSAGES, {"role": "assistant", "content": "Paris."}, {"role": "user", "content": "Sûr ? 你好 🚂"}],
    ],
)
def test_vllm_sees_the_token_ids_that_training_and_evaluation_render(
    vllm_engine: EngineThread, messages: list[Message]
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(resolve_model(MODEL))
    completion = ask(vllm_engine, messages, max_tokens=1)
    assert list(completion.prompt_token_ids) == Template(tokenizer).prompt(messages)
    assert vllm_engine.engine.prompt_length(messages) == len(completion.prompt_token_ids)


@slow
def test_a_stream_says_what_the_whole_answer_says(vllm_engine: EngineThread) -> None:
    options = {"max_tokens": 20, "temperature": 0, "return_token_ids": True}

    async def stream() -> list[dict[str, Any]]:
        return [chunk async for chunk in vllm_engine.engine.stream(ChatRequest(MESSAGES, options))]

    whole = ask(vllm_engine, MESSAGES, **options)
    chunks = vllm_engine.call(stream())
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == whole.text
    assert tuple(token for choice in choices for token in choice.get("token_ids") or ()) == whole.token_ids
    assert choices[-1]["finish_reason"] == whole.finish_reason == "stop"
    assert {choice["finish_reason"] for choice in choices[:-1]} == {None}
    assert tuple(chunks[0]["prompt_token_ids"]) == whole.prompt_token_ids
    assert 0 < whole.ttft_ms < whole.total_ms


@slow
@pytest.mark.parametrize(
    "usage", [None, {"include_usage": True}, {"include_usage": True, "continuous_usage_stats": True}]
)
@pytest.mark.parametrize(
    "options", [{"max_tokens": 1}, {"max_tokens": 12}, {"stop": ["Paris"]}, {"temperature": 0.9, "max_tokens": 12}]
)
def test_the_chunks_of_text_are_those_of_vllm(
    vllm_engine: EngineThread, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], usage: dict[str, bool] | None
) -> None:
    request = ChatRequest(MESSAGES, {"temperature": 0, "seed": 3, "stream_options": usage, **options})

    async def stream() -> list[dict[str, Any]]:
        return [chunk async for chunk in vllm_engine.engine.stream(request)]

    def told(chunk: dict[str, Any]) -> dict[str, Any]:
        """A chunk without what no two answers have in common."""
        return {**chunk, "id": "", "created": 0, "metrics": sorted(chunk.get("metrics") or ())}

    is_plain, decided = vllm_streams.is_plain, list[bool]()
    monkeypatch.setattr(vllm_streams, "is_plain", lambda *of: decided.append(is_plain(*of)) or decided[-1])
    ours = [told(chunk) for chunk in vllm_engine.call(stream())]
    assert decided == [True]
    monkeypatch.setattr(vllm_streams, "is_plain", lambda *_: False)
    assert ours == [told(chunk) for chunk in vllm_engine.call(stream())]


@slow
def test_token_ids_are_in_the_body_only_where_they_are_asked_for(vllm_engine: EngineThread) -> None:
    silent = ask(vllm_engine, MESSAGES, max_tokens=3)
    asked = ask(vllm_engine, MESSAGES, max_tokens=3, return_token_ids=True)
    assert silent.token_ids and silent.body["prompt_token_ids"] is silent.body["choices"][0]["token_ids"] is None
    assert tuple(asked.body["choices"][0]["token_ids"]) == asked.token_ids


@slow
def test_each_sampling_field_reaches_the_engine(vllm_engine: EngineThread) -> None:
    def text(**options: object) -> str:
        return ask(vllm_engine, LONG_ANSWER, **{"max_tokens": 24, "temperature": 0, **options}).text

    greedy = text()
    assert text(max_tokens=3) == greedy[: len(text(max_tokens=3))] != greedy
    word = greedy.split()[4]
    assert word not in text(stop=[word])
    assert text(temperature=1.5, seed=1) != text(temperature=1.5, seed=2)
    assert text(temperature=1.5, top_p=1e-6, seed=1) == greedy


@slow
@pytest.mark.parametrize("how", ["cancel", "close", "cancel chat"])
def test_what_nobody_reads_any_more_frees_its_slot(vllm_engine: EngineThread, how: str) -> None:
    engine = vllm_engine.engine
    long = ChatRequest(LONG_ANSWER, {"max_tokens": 500})

    async def leave() -> None:
        if how == "close":
            async with aclosing(engine.stream(long)) as stream:
                await anext(stream)
                assert engine.unfinished == 1
            return

        async def read() -> None:
            if how == "cancel":
                async for _ in engine.stream(long):
                    pass
            await engine.chat(long)

        task = asyncio.create_task(read())
        while engine.unfinished == 0:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    vllm_engine.call(leave())
    until(lambda: engine.unfinished == 0, 2.0)


@slow
@pytest.mark.parametrize("words", [1100, 1_000_000])
def test_a_prompt_that_is_too_long_is_refused_and_the_engine_lives_on(vllm_engine: EngineThread, words: int) -> None:
    long = ChatRequest(conversation("s", "word " * words), {"max_tokens": 5})

    async def stream() -> None:
        async for _ in vllm_engine.engine.stream(long):
            raise AssertionError("it was answered")

    for work in (vllm_engine.engine.chat(long), stream()):
        with pytest.raises(PromptTooLong, match=f"no room for an answer.*{SETTINGS.max_model_len}"):
            vllm_engine.call(work)
    assert vllm_engine.engine.unfinished == 0
    assert ask(vllm_engine, MESSAGES, max_tokens=5).text
    vllm_engine.call(vllm_engine.engine.check_health())


@slow
def test_a_prompt_that_just_fits_is_answered_with_what_room_there_is(vllm_engine: EngineThread) -> None:
    words = 900
    one = ask(vllm_engine, conversation("s", "word " * words), max_tokens=1)
    words += SETTINGS.max_model_len - len(one.prompt_token_ids) - 3
    for asked in (50, 10_000):
        completion = ask(vllm_engine, conversation("s", "word " * words), max_tokens=asked)
        assert len(completion.prompt_token_ids) == SETTINGS.max_model_len - 3
        assert len(completion.token_ids) <= 3
    with pytest.raises(PromptTooLong, match="no room"):
        ask(vllm_engine, conversation("s", "word " * (words + 3)), max_tokens=50)


@slow
@pytest.mark.parametrize(
    ("options", "param"),
    [({"temperature": -1.0}, "temperature"), ({"max_tokens": 0}, "max_tokens"), ({"stop": [7]}, "stop.str")],
    ids=str,
)
def test_an_option_that_is_not_valid_is_refused_in_a_sentence(
    vllm_engine: EngineThread, options: dict[str, Any], param: str
) -> None:
    with pytest.raises(RequestRefused, match=param.partition(".")[0]) as refused:
        ask(vllm_engine, MESSAGES, **{"max_tokens": 5, **options})
    assert (refused.value.status, refused.value.param) == (400, param)
    assert not isinstance(refused.value, PromptTooLong) and "\n" not in str(refused.value)


@pytest.fixture
def other_model(tmp_path: Path) -> Path:
    """The packaged model with noise on its weights, so that it says something else."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "other"
    shutil.copytree(resolve_model(MODEL), folder)
    weights = load_file(folder / "model.safetensors")
    noise = torch.Generator().manual_seed(0)
    changed = {
        name: value + 0.05 * torch.randn(value.shape, generator=noise).to(value.dtype) if "mlp" in name else value
        for name, value in weights.items()
    }
    save_file(changed, folder / "model.safetensors", {"format": "pt"})
    return folder


@slow
def test_a_model_takes_the_place_of_another_under_streams_and_none_mixes_the_two(
    vllm_engine: EngineThread, other_model: Path
) -> None:
    engine, first = vllm_engine.engine, vllm_engine.engine.folder
    request = ChatRequest(MESSAGES, {"max_tokens": 12, "temperature": 0})
    answers: dict[str, set[str]] = {}

    async def stream_until(over: asyncio.Event) -> int:
        number = 0
        while not over.is_set():
            pieces, version = [], ""
            async with aclosing(engine.stream(request)) as chunks:
                async for chunk in chunks:
                    version = version or engine.version
                    pieces += [choice["delta"].get("content") or "" for choice in chunk["choices"]]
                    assert engine.version == version
            answers.setdefault(version, set()).add("".join(pieces))
            number += 1
        return number

    async def run() -> list[int]:
        over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            streams = [tasks.create_task(stream_until(over)) for _ in range(4)]
            for folder in (other_model, first, other_model, first):
                await asyncio.sleep(0.3)
                await engine.replace(folder)
            await asyncio.sleep(0.3)
            over.set()
        return [stream.result() for stream in streams]

    try:
        assert min(vllm_engine.call(run())) > 0
        assert engine.folder == first
    finally:
        if engine.folder != first:
            vllm_engine.call(engine.replace(first))
    assert len(answers) == 2
    one, other = answers.values()
    assert one.isdisjoint(other)


def test_an_engine_that_lost_its_model_answers_again_when_it_was_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Llm:
        async def collective_rpc(self, method: str, kwargs: dict[str, str]) -> None:
            raise RuntimeError("cut off")

        async def check_health(self) -> None: ...

    async def run() -> None:
        engine = VllmEngine(tmp_path, SETTINGS)
        engine._llm = Llm()
        with pytest.raises(EngineDead, match="could not be loaded: cut off"):
            await engine.replace(tmp_path)
        with pytest.raises(EngineDead, match="must be restarted"):
            await engine.check_health()
        engine._llm = Llm()  # as `close` and `start` leave it
        await engine.check_health()

    monkeypatch.setattr("ragft.engine.vllm.why_not_in_place", lambda old, new: None)
    asyncio.run(run())


@slow
def test_a_model_that_does_not_fit_in_place_leaves_the_old_one_answering(
    vllm_engine: EngineThread, tmp_path: Path
) -> None:
    engine, version = vllm_engine.engine, vllm_engine.engine.version
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(NotInPlace, match=r"its config\.json has another"):
        vllm_engine.call(engine.replace(tmp_path))
    assert engine.version == version
    assert ask(vllm_engine, MESSAGES, max_tokens=2).text


@slow
def test_a_model_that_cannot_be_loaded_is_refused_in_a_sentence_without_a_traceback(tmp_path: Path) -> None:
    source = resolve_model(MODEL)
    for file in source.iterdir():
        # The first half of the weights: the header is whole, so that only the process that loads them notices.
        half = file.stat().st_size // 2 if file.suffix == ".safetensors" else None
        (tmp_path / file.name).write_bytes(file.read_bytes()[:half])
    script = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom ragft.config import EngineSection\n"
        "from ragft.engine.vllm import VllmEngine\nfrom ragft.errors import RagftError\n"
        "if __name__ == '__main__':\n"
        f"    engine = VllmEngine(Path({str(tmp_path)!r}), EngineSection())\n"
        "    try:\n        asyncio.run(engine.start())\n"
        "    except RagftError as error:\n        print(error)\n"
    )
    file = tmp_path / "script.py"
    file.write_text(script)
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
    ended = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, env=environment)
    assert ended.stdout.count("\n") == 1
    assert "could not load" in ended.stdout and "SafetensorError" in ended.stdout
    assert "Traceback" not in ended.stderr


@pytest.mark.medium
def test_an_engine_that_was_not_started_says_so(tmp_path: Path) -> None:
    engine = VllmEngine(tmp_path, SETTINGS)
    with pytest.raises(EngineDead, match="start it first"):
        asyncio.run(engine.check_health())
    with pytest.raises(EngineDead, match="start it first"):
        asyncio.run(engine.chat(ChatRequest(MESSAGES)))
    asyncio.run(engine.close())


class _Llm:
    """What vLLM gives, as far as ending it goes."""

    output_handler = None

    def __init__(self) -> None:
        self.ended = False

    def shutdown(self, timeout: float | None = None) -> None:
        self.ended = True


def test_a_model_that_was_loaded_beside_other_work_and_is_not_wanted_is_freed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm, go_on = _Llm(), threading.Event()
    monkeypatch.setattr(VllmEngine, "_load", lambda self: llm if go_on.wait(60) else None)
    engine = VllmEngine(tmp_path, SETTINGS)
    engine.preload()
    assert not llm.ended
    go_on.set()
    asyncio.run(engine.close())
    assert llm.ended


@pytest.mark.medium
def test_a_start_that_is_cancelled_frees_the_model_when_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text("{}")
    llm, loading, go_on = _Llm(), threading.Event(), threading.Event()

    def load(self: VllmEngine) -> _Llm:
        loading.set()
        assert go_on.wait(60)
        return llm

    monkeypatch.setattr(VllmEngine, "_load", load)

    async def cancelled() -> None:
        starting = asyncio.create_task(VllmEngine(tmp_path, SETTINGS).start())
        await asyncio.to_thread(loading.wait, 60)
        starting.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await starting

    asyncio.run(cancelled())
    assert llm.ended


@pytest.mark.medium
def test_a_start_that_failed_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    loads = iter([RagftError("no memory"), _Llm()])

    def load(self: VllmEngine) -> _Llm:
        result = next(loads)
        if isinstance(result, RagftError):
            raise result
        return result

    async def servings(*_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(openai_serving_chat=None, openai_serving_completion=None, openai_serving_models=None)

    monkeypatch.setattr(VllmEngine, "_load", load)
    monkeypatch.setattr("ragft.engine.vllm._servings", servings)
    engine = VllmEngine(tmp_path, SETTINGS)

    async def twice() -> None:
        engine.preload()
        with pytest.raises(RagftError, match="no memory"):
            await engine.start()
        await engine.start()
        await engine.close()

    asyncio.run(twice())


def test_importing_the_engine_does_not_import_vllm() -> None:
    code = "import sys, ragft.engine.vllm; print('vllm' in sys.modules, 'torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "False"]


def test_children_write_their_errors_to_the_log_and_the_first_one_is_the_cause(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    log.touch()
    first = "print('(Core pid=1) ERROR torch.OutOfMemoryError: no room.', file=sys.stderr)"
    code = f"import sys; {first}; raise ValueError('later')"
    with stderr_of_children(log):
        subprocess.run([sys.executable, "-c", code], check=False)
    assert capfd.readouterr().err == ""
    assert cause(log, RuntimeError("see above")) == "OutOfMemoryError: no room."
    assert cause(None, RuntimeError("see\nabove")) == "RuntimeError: see above."
    wrapped = "1 validation error for VllmConfig\n  Value error, no such dtype [type=value_error, input_value=...]"
    assert cause(None, ValueError(wrapped)) == "no such dtype."


def test_ctrl_c_is_not_for_the_children() -> None:
    code = (
        "import signal, os; signal.signal(signal.SIGINT, lambda *_: os._exit(9)); os.kill(os.getpid(), signal.SIGINT)"
    )
    with deaf_to_ctrl_c():
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9


def test_a_variable_stays_until_the_last_engine_that_starts_with_it_has_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("GOMP_CPU_AFFINITY", raising=False)
    values = {"OMP_NUM_THREADS": "1", "GOMP_CPU_AFFINITY": "1"}
    first, second = variables(**values), variables(**values)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert {name: os.environ.get(name) for name in values} == values
    second.__exit__(None, None, None)
    assert {name: os.environ.get(name) for name in values} == {"OMP_NUM_THREADS": "7", "GOMP_CPU_AFFINITY": None}


def test_vllm_reads_the_environment_until_the_last_engine_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    envs = SimpleNamespace(
        enable_envs_cache=lambda: said.append("copied"), disable_envs_cache=lambda: said.append("read")
    )
    monkeypatch.setitem(sys.modules, "vllm.envs", envs)
    first, second = variables_change(), variables_change()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert said == ["read", "read"]
    second.__exit__(None, None, None)
    assert said == ["read", "read", "copied"]


@pytest.mark.parametrize(
    ("cores", "told", "expected"),
    [
        (2, {}, {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}),
        (2, {"OMP_NUM_THREADS": "1"}, {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}),
    ],
)
def test_few_cores_are_all_computed_with_unless_the_user_says_how_many(
    monkeypatch: pytest.MonkeyPatch, cores: int, told: dict[str, str], expected: dict[str, str]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    for name in ("OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert of_openmp(None) == expected


@slow
def test_scheduler_and_model_are_one_process(vllm_engine: EngineThread) -> None:
    assert vllm_engine.call(vllm_engine.engine.check_health()) is None
    commands = [" ".join(one.cmdline()) for one in psutil.Process().children(recursive=True)]
    assert not [command for command in commands if "Worker" in command], commands
    assert [command for command in commands if "EngineCore" in command], commands


def test_a_missing_vllm_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "vllm", None)
    begin = time.monotonic()
    with pytest.raises(RagftError, match="ragft\\[vllm-cpu\\]"):
        asyncio.run(VllmEngine(tmp_path, SETTINGS).start())
    assert time.monotonic() - begin < 5
