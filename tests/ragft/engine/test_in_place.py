"""Whether a model may take another one's place in a running engine, and who waits for whom meanwhile."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ragft.engine.in_place import Turnstile, tensors, why_not_in_place

WEIGHTS = {"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.float16)}


def model(folder: Path, weights: dict[str, torch.Tensor] = WEIGHTS, **config: object) -> Path:
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 3, **config}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


def test_weights_alone_may_differ(tmp_path: Path) -> None:
    old = model(tmp_path / "old", transformers_version="5.18", _name_or_path="here")
    new = model(tmp_path / "new", {name: tensor + 1 for name, tensor in WEIGHTS.items()}, transformers_version="5.19")
    assert tensors(old) == {"a": ("F32", (2, 3)), "b": ("F16", (4,))}
    assert why_not_in_place(old, new) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda f: (f / "config.json").write_text('{"model_type": "llama", "hidden_size": 4}'), "another hidden_size"),
        (lambda f: (f / "tokenizer.json").write_text('{"version": 2}'), "tokenizer or chat template"),
        (lambda f: (f / "chat_template.jinja").write_text("{{ x }}"), "tokenizer or chat template"),
        (lambda f: save_file({"a": WEIGHTS["a"]}, f / "model.safetensors"), "b is in only one"),
        (lambda f: save_file({**WEIGHTS, "a": torch.zeros(3, 2)}, f / "model.safetensors"), "a has another shape"),
        (lambda f: save_file({**WEIGHTS, "a": torch.zeros(2, 3).bfloat16()}, f / "model.safetensors"), "a has another"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\0" * 40), "cannot be read"),
        (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-1]), "cut off"),
        (lambda f: (f / "config.json").unlink(), "cannot be read"),
        (lambda f: shutil.rmtree(f), "cannot be read"),
    ],
)
def test_what_vllm_could_not_load_is_refused_before(tmp_path: Path, change: Callable[[Path], object], why: str) -> None:
    old, new = model(tmp_path / "old"), model(tmp_path / "new")
    change(new)
    assert why in (why_not_in_place(old, new) or "nothing")


def test_who_is_alone_waits_for_those_inside_and_later_ones_wait_for_it() -> None:
    order: list[str] = []

    async def answer(turnstile: Turnstile, name: str, ends: asyncio.Event) -> None:
        async with turnstile.passing():
            order.append(f"{name} in")
            await ends.wait()
            order.append(f"{name} out")

    async def exchange(turnstile: Turnstile) -> None:
        async with turnstile.alone():
            order.append("alone")
            await asyncio.sleep(0)

    async def run() -> None:
        turnstile, ends = Turnstile(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(answer(turnstile, "first", ends))
            await asyncio.sleep(0)
            tasks.create_task(exchange(turnstile))
            await asyncio.sleep(0)
            late = tasks.create_task(answer(turnstile, "late", ends))
            tasks.create_task(answer(turnstile, "later", ends))
            await asyncio.sleep(0)
            late.cancel()
            ends.set()

    asyncio.run(run())
    assert order == ["first in", "first out", "alone", "later in", "later out"]


def test_a_failed_exchange_lets_answers_in_again() -> None:
    async def run() -> None:
        turnstile = Turnstile()
        with pytest.raises(ZeroDivisionError):
            async with turnstile.alone():
                raise ZeroDivisionError
        async with asyncio.timeout(1), turnstile.passing(), turnstile.passing():
            pass
        async with asyncio.timeout(1), turnstile.alone():
            pass

    asyncio.run(run())
