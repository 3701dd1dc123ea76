"""General rows for `data.mix.general`: what the base model itself answers to instructions of another source.

    python benchmarks/replay.py ifeval.jsonl general.jsonl [--count 170]

Training on its own answers reminds a model of how it answers everything else. Answers that are cut off are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from ragft.config import EngineSection
from ragft.console import prepare_process
from ragft.data.jsonl import read_objects
from ragft.engine.base import ChatRequest
from ragft.engine.vllm import VllmEngine
from ragft.errors import UsageError
from ragft.models import resolve_model

LONGEST = 220  # tokens of an answer


async def answered(model: Path, prompts: list[str]) -> list[dict[str, str]]:
    """Each prompt with the model's greedy answer, as an example."""
    engine = VllmEngine(model, EngineSection(max_model_len=1024, max_tokens=LONGEST, max_num_seqs=24))
    await engine.start()
    try:
        asked = (ChatRequest([{"role": "user", "content": prompt}], {"temperature": 0.0}) for prompt in prompts)
        replies = await asyncio.gather(*map(engine.chat, asked))
    finally:
        await engine.close()
    return [
        {"question": prompt, "answer": reply.text.strip()}
        for prompt, reply in zip(prompts, replies, strict=True)
        if reply.finish_reason == "stop"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", type=Path, help='JSONL of {"prompt"}')
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=170, help="prompts that are asked, from the first on")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    options = parser.parse_args()
    try:
        prompts = [str(row["prompt"]) for _, row in read_objects(options.prompts, "prompts", "prompts")]
    except (UsageError, KeyError) as error:
        parser.error(f"no line may be without a prompt: {error}" if isinstance(error, KeyError) else str(error))
    rows = asyncio.run(answered(resolve_model(options.model), prompts[: options.count]))
    options.out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(f"{len(rows)} of {min(options.count, len(prompts))} answers ended by themselves: {options.out}")


if __name__ == "__main__":
    prepare_process()
    main()
