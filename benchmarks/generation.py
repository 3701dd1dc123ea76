"""What asking through ragft costs beside the same model asked plainly: vLLM itself, and transformers one by one.

    python benchmarks/generation.py [--questions 64] [--rounds 3] [--slow 8] [--json FILE]

One engine answers the questions of the bundled example in turns: through the evaluation (prompts rendered, answers read
by vLLM's OpenAI layer, citations, records written) and as vLLM's own `generate` over the same token ids, all at once.
Then transformers generates the first few one prompt at a time. All are greedy, and their answers are compared: those of
vLLM must be the same both ways.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ragft.config import Config, load_config
from ragft.console import Reporter, prepare_process
from ragft.evaluate.records import Record, read_records
from ragft.evaluate.run import generate
from ragft.pipeline import Pipeline
from ragft.setups import PROMPT_ONLY
from ragft.stages.application import Application

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "lifecycle.yaml"


async def measure(app: Application, count: int, rounds: int) -> tuple[dict[str, list[float]], list[Record]]:
    """Seconds of each round both ways, and the records of the first."""
    from ragft.engine.vllm import VllmEngine

    config, questions = app.config, app.questions[:count]
    engine = VllmEngine(app.base, config.engine, model="base")
    await engine.start()
    try:
        pipeline = Pipeline(config, {"base": engine}, None)
        seconds: dict[str, list[float]] = {"ragft": [], "vLLM": []}
        first: list[Record] = []
        for turn in range(rounds + 1):
            # What was cached of one way would be a gift to the other.
            await engine._llm.reset_prefix_cache()
            with tempfile.TemporaryDirectory() as folder:
                begin = time.perf_counter()
                await generate(pipeline, PROMPT_ONLY, questions, None, Path(folder), lambda _: None)
                took, records = time.perf_counter() - begin, read_records(Path(folder) / "records.jsonl")
            await engine._llm.reset_prefix_cache()
            begin = time.perf_counter()
            plain = await plainly(engine._llm, config, [prompt_ids(app, one.question) for one in questions])
            if turn:  # the first round warms both up
                seconds["ragft"].append(took)
                seconds["vLLM"].append(time.perf_counter() - begin)
            texts = [app.template.tokenizer.decode(ids, skip_special_tokens=True) for ids in plain]
            same = sum(text == record.answer for text, record in zip(texts, records, strict=True))
            if same < len(records):
                print(f"{len(records) - same} of {len(records)} answers differ")
            first = first or records
        return seconds, first
    finally:
        await engine.close()


def prompt_ids(app: Application, question: str) -> list[int]:
    """The prompt of a question in the setup prompt-only, as token ids."""
    messages = Pipeline(app.config, {}, None).render(PROMPT_ONLY, question, None).messages
    return list(app.template.prompt(messages))


async def plainly(llm: Any, config: Config, prompts: list[list[int]]) -> list[list[int]]:
    """Greedy answers by vLLM's `generate`, all prompts handed over at once."""
    from vllm import SamplingParams
    from vllm.inputs import TokensPrompt
    from vllm.sampling_params import RequestOutputKind

    settings = SamplingParams(
        temperature=0.0, max_tokens=config.engine.max_tokens, output_kind=RequestOutputKind.FINAL_ONLY
    )

    async def one(number: int, ids: list[int]) -> list[int]:
        async for output in llm.generate(TokensPrompt(prompt_token_ids=ids), settings, f"plain-{number}-{time.time()}"):
            if output.finished:
                return list(output.outputs[0].token_ids)
        return []

    return list(await asyncio.gather(*(one(number, ids) for number, ids in enumerate(prompts))))


def one_by_one(app: Application, count: int) -> tuple[float, list[str]]:
    """Seconds of transformers' `generate` for each question, and the answers."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(app.base, dtype=torch.float32).eval()
    tokenizer, texts, begin = app.template.tokenizer, [], time.perf_counter()
    for question in app.questions[:count]:
        ids = torch.tensor([prompt_ids(app, question.question)])
        with torch.inference_mode():
            found = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=app.config.engine.max_tokens, do_sample=False
            )
        texts.append(tokenizer.decode(found[0, ids.shape[1] :], skip_special_tokens=True))
    return (time.perf_counter() - begin) / count, texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=64, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--slow", type=int, default=8, help="questions for transformers (default: %(default)s)")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    prepare_process()
    app = Application(load_config(CONFIG), Reporter())
    seconds, records = asyncio.run(measure(app, chosen.questions, chosen.rounds))
    each = {way: statistics.median(of) / chosen.questions for way, of in seconds.items()}
    each["transformers, one by one"], texts = one_by_one(app, chosen.slow)
    same = sum(text == record.answer for text, record in zip(texts, records[: chosen.slow], strict=True))
    ratios = sorted(one / other for one, other in zip(seconds["ragft"], seconds["vLLM"], strict=True))
    table = Table("way", "seconds an answer", "beside vLLM")
    for way, one in each.items():
        table.add_row(way, f"{one:.3f}", f"{one / each['vLLM']:.2f}")
    Console().print(table)
    print(f"Ratio of ragft to vLLM in each round: {', '.join(f'{one:.3f}' for one in ratios)}")
    print(f"transformers answers {same} of {chosen.slow} with the same words")
    if chosen.json:
        chosen.json.write_text(json.dumps({"seconds": seconds, "each": each, "same": same}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
