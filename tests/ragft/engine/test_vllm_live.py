"""Adapters in real vLLM: what it answers with them is what the merged model would."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.engines import SETTINGS, EngineThread

from ragft.engine import vllm
from ragft.engine.adapter import Adapter
from ragft.engine.base import ChatRequest, TextRequest
from ragft.engine.live import LiveEngine, Shared
from ragft.errors import RagftError
from ragft.prompts import conversation

pytestmark = pytest.mark.slow

MESSAGES = conversation("s", "When does the tram leave?")
GREEDY = {"max_tokens": 12, "temperature": 0, "ignore_eos": True}
REQUEST = ChatRequest(MESSAGES, GREEDY)


class Tuned:
    """Random adapters of the random model, and what the models that they are merged into answer."""

    def __init__(self, base: Path, folder: Path) -> None:
        self.base, self.folder = base, folder

    def adapter(self, name: str, seed: int) -> Adapter:
        import torch
        from peft import LoraConfig

        torch.manual_seed(seed)
        tuned = self._wrapped(LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
        for key, values in tuned.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(values, std=0.2)
        tuned.save_pretrained(self.folder / name)
        return Adapter(self.folder / name, name, 8)

    def answer(self, adapter: Adapter | None, prompt: list[int]) -> list[int]:
        """Greedy ids of the merged model, by transformers."""
        import torch
        from peft import PeftModel
        from transformers import LlamaForCausalLM

        model = LlamaForCausalLM.from_pretrained(self.base, dtype=torch.float32)
        if adapter is not None:
            model = PeftModel.from_pretrained(model, str(adapter.folder)).merge_and_unload()
        ids = torch.tensor([prompt])
        with torch.no_grad():
            for _ in range(GREEDY["max_tokens"]):
                ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
        told: list[int] = ids[0, len(prompt) :].tolist()
        return told

    def _wrapped(self, config: Any) -> Any:
        from peft import get_peft_model
        from transformers import LlamaForCausalLM

        return get_peft_model(LlamaForCausalLM.from_pretrained(self.base), config)


@pytest.fixture(scope="module")
def tuned(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    return Tuned(small_model, tmp_path_factory.mktemp("adapters"))


def test_base_and_adapters_answer_from_one_engine_as_the_merged_models_would(
    small_engine: EngineThread, tuned: Tuned
) -> None:
    first, second = tuned.adapter("first", 1), tuned.adapter("second", 2)
    adapters = {one.folder: one for one in (first, second)}
    shared = Shared(small_engine.engine)
    base, live = (LiveEngine(shared, adapter, adapters.__getitem__) for adapter in (None, first))

    async def work() -> list[tuple[int, ...]]:
        await live.start()
        await shared.join(base)
        both = await asyncio.gather(base.chat(REQUEST), live.chat(REQUEST))
        async with aclosing(live.stream(ChatRequest(MESSAGES, {**GREEDY, "return_token_ids": True}))) as stream:
            chunks = [await anext(stream)]
            exchange = asyncio.create_task(live.replace(second.folder))
            chunks += [chunk async for chunk in stream]
        await exchange
        later = await live.chat(REQUEST)
        text = await live.complete(TextRequest(list(later.prompt_token_ids), {**GREEDY, "return_token_ids": True}))
        streamed = tuple(id_ for chunk in chunks for one in chunk["choices"] for id_ in one.get("token_ids") or ())
        await live.close()
        return [both[0].prompt_token_ids, both[0].token_ids, both[1].token_ids, streamed, later.token_ids,
                tuple(text["choices"][0]["token_ids"])]  # fmt: skip

    prompt, of_base, of_first, streamed, of_second, completed = map(list, small_engine.call(work()))
    assert of_base == tuned.answer(None, prompt)
    assert of_first == streamed == tuned.answer(first, prompt)
    assert of_second == completed == tuned.answer(second, prompt)
    assert len({tuple(of_base), tuple(of_first), tuple(of_second)}) == 3
    # The engine is the session's: it ends with its last user, which here stays.
    assert small_engine.call(small_engine.engine.chat(REQUEST)).token_ids == tuple(of_base)


@pytest.mark.parametrize("fault", ["gone", "rank", "layers"])
def test_an_adapter_that_vllm_refuses_is_told_in_a_sentence_and_the_engine_lives_on(
    small_engine: EngineThread, tuned: Tuned, fault: str
) -> None:
    from safetensors.torch import load_file, save_file

    wrong = tuned.adapter(fault, 3)
    if fault == "gone":
        shutil.rmtree(wrong.folder)
    elif fault == "rank":
        config = wrong.folder / "adapter_config.json"
        config.write_text(config.read_text().replace('"r": 8', '"r": 64'))
    else:
        file = wrong.folder / "adapter_model.safetensors"
        save_file({name.replace("q_proj", "x_proj"): values for name, values in load_file(file).items()}, file)
    with pytest.raises(RagftError, match="vLLM cannot apply the adapter in"):
        small_engine.call(small_engine.engine.load_adapter(wrong))
    fitting = tuned.adapter(f"fits after {fault}", 4)
    small_engine.call(small_engine.engine.load_adapter(fitting))
    answered = small_engine.call(small_engine.engine.chat(REQUEST, fitting.version))
    small_engine.call(small_engine.engine.unload_adapter(fitting.version))
    assert list(answered.token_ids) == tuned.answer(fitting, list(answered.prompt_token_ids))


def test_an_engine_that_is_started_anew_has_its_adapters_again(
    small_model: Path, tuned: Tuned, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Models:
        def __init__(self) -> None:
            self.lora_requests: dict[str, Any] = {}

        async def load_lora_adapter(self, request: Any) -> str:
            asked.append(request.lora_name)
            self.lora_requests[request.lora_name] = request
            return "Success"

    async def servings(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(openai_serving_chat=None, openai_serving_completion=None, openai_serving_models=Models())

    async def stop(llm: Any) -> None: ...

    monkeypatch.setattr(vllm, "_servings", servings)
    monkeypatch.setattr(vllm, "_stop", stop)
    monkeypatch.setattr(vllm.VllmEngine, "_load", lambda engine: object())
    engine = vllm.VllmEngine(small_model, SETTINGS, adapter_rank=8)
    kept, gone = Adapter(small_model, "kept", 8), Adapter(small_model, "gone", 8)

    async def work() -> None:
        await engine.start()
        for adapter in (kept, gone, kept):
            await engine.load_adapter(adapter)
        await engine.unload_adapter("gone")
        await engine.close()
        await engine.start()
        await engine.close()

    asyncio.run(work())
    assert asked == ["kept", "gone", "kept"]
