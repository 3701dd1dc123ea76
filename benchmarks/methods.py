"""The methods of `finetune.method` beside each other, on a part of the bundled example.

    python benchmarks/methods.py --general-file arc_easy.jsonl [--workspace DIR] [--methods lora dora ...]

Each method trains on the same rows, in a process of its own, at its own default learning rate; then the live adapter
(or the trained weights) answers the same held-out questions with their passages through transformers and PEFT, so that
methods which cannot be served are measured, too. `none` is the base model as it is.

With its defaults and SmolLM2-135M, two cores without bfloat16 should take about 40 minutes (reckoned): {rows} rows of
220 tokens on average train in two minutes through PEFT (about 120 tokens/s) and in one in the fast loop, and the
questions of a method take another minute. To be that short, prompts hold two passages and a system prompt of a line,
and steps two rows, so that figures are not those of the whole example. `full` takes 9 GiB of memory, others up to 4.
Results are kept line by line in the workspace: what was measured is not measured again.

Methods of preferences (dpo, orpo, kto, simpo) are left out, because the examples hold no worse answers, and grpo,
because it learns from rewards and not from these answers.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ragft.console import prepare_process

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "lifecycle.yaml"
METHODS = (
    "qlora", "lora", "dora", "rslora", "lora+", "pissa", "olora", "full", "layers", "ia3", "prompt-tuning", "p-tuning",
    "prefix-tuning", "adapter",
)  # fmt: skip
BASE = "none"
SYSTEM = "You are the software life-cycle desk. Answer in three lines: Source, Record, Answer; without one: unknown."
VALIDATION_SHARE = 0.2  # of as many examples as are trained on
PROMPTS_AT_ONCE = {"cpu": 20, "cuda": 150}
TASK, RESULTS = "task.json", "results.jsonl"


def main() -> None:
    """Measures what is missing, and prints the table."""
    arguments = parsed()
    prepare_process()
    if arguments.worker:
        print(json.dumps(measure(arguments.worker, arguments.workspace)))
        return
    arguments.workspace.mkdir(parents=True, exist_ok=True)
    plan = prepare(arguments)
    results = arguments.workspace / RESULTS
    for method in (BASE, *arguments.methods):
        if method not in known(results, plan):
            print(f"{time.strftime('%H:%M:%S')} {method}", file=sys.stderr, flush=True)
            line = {"method": method, "plan": plan, **in_process(method, arguments.workspace)}
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            if "failed" in line:
                print(f"{method} failed: {line['failed']}", file=sys.stderr, flush=True)
    found = known(results, plan, failed=True)
    rows = [found[method] for method in (BASE, *arguments.methods)]
    Console(width=200).print(table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def parsed() -> argparse.Namespace:
    rows = 56
    parser = argparse.ArgumentParser(
        description=str(__doc__).format(rows=rows), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--methods", nargs="+", default=METHODS, choices=METHODS, metavar="METHOD", help="what to train"
    )
    parser.add_argument("--rows", type=int, default=rows, help="rows to train on (default: %(default)s)")
    parser.add_argument("--epochs", type=float, default=1.0, help="passes over them (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=2, help="rows of an optimiser step (default: %(default)s)")
    parser.add_argument("--questions", type=int, default=40, help="held-out questions (default: %(default)s)")
    parser.add_argument("--general-file", type=Path, help="multiple-choice questions, for general ability")
    parser.add_argument("--general", type=int, default=60, help="how many of them (default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, default=128, help="longest answer (default: %(default)s)")
    parser.add_argument("--workspace", type=Path, default=Path("workspace/methods"), help="(default: %(default)s)")
    parser.add_argument("--config", type=Path, default=CONFIG, help="the domain (default: the bundled example)")
    parser.add_argument("--base", help="another base model, as model.base")
    parser.add_argument("--device", default="auto", help="as finetune.device (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def prepare(arguments: argparse.Namespace) -> str:
    """Writes what every method needs, as token ids: rows, prompts, questions. Returns a hash of it.

    Index and mix are made here by the stages of the project, so that no method's process holds an encoder.
    """
    from ragft.artifacts import hash_file
    from ragft.config import load_config
    from ragft.console import Reporter
    from ragft.data.examples import read_examples
    from ragft.data.jsonl import to_lines
    from ragft.data.questions import sample
    from ragft.data.split import split
    from ragft.evaluate.suites.choices import read_choices
    from ragft.pipeline import Pipeline
    from ragft.setups import setup_named
    from ragft.stages.application import Application
    from ragft.stages.data import rendered
    from ragft.stages.forgetting import tokenized
    from ragft.stages.index import live_snapshot, refresh

    folder = arguments.workspace.resolve()
    whole = load_config(arguments.config)
    parts = split(read_examples(whole.data.examples), VALIDATION_SHARE, whole.seed)
    sizes = {"train": arguments.rows, "validation": max(4, round(VALIDATION_SHARE * arguments.rows))}
    for (name, size), part in zip(sizes.items(), parts, strict=True):
        chosen = sample(part, size, whole.seed)
        # A file of examples does not name what they have not.
        rows = [{key: value for key, value in example.to_json().items() if value} for example in chosen]
        (folder / f"{name}.jsonl").write_bytes(to_lines(rows))
    own = {
        "workspace": str(folder), "data.examples": str(folder / "train.jsonl"),
        "data.validation": str(folder / "validation.jsonl"), "data.mix.passages": 2, "data.mix.repeats": 1,
        "index.search.top_k": 2, "prompt.system": SYSTEM, "finetune.method": "lora",
        **({"model.base": arguments.base} if arguments.base else {}),
    }  # fmt: skip
    app = Application(
        load_config(arguments.config, [f"{key}={json.dumps(value)}" for key, value in own.items()]), Reporter()
    )
    refresh(app, ask_gate=False)
    train, validation = (sample(tuple(rendered(app, part)), size, app.config.seed) for part, size in sizes.items())
    questions = sample(app.questions, arguments.questions, app.config.seed)
    setup, pipeline = setup_named("hybrid"), Pipeline(app.config, {}, None)
    passages = app.retriever(live_snapshot(app)).search([question.question for question in questions])
    prompts = [
        app.template.prompt(pipeline.render(setup, question.question, found).messages)
        for question, found in zip(questions, passages, strict=True)
    ]
    general = ()
    if arguments.general_file is not None:
        general = sample(read_choices(arguments.general_file, "--general-file"), arguments.general, app.config.seed)
    task = {
        "base": str(app.base), "seed": app.config.seed, "answer": app.config.answer.model_dump(mode="json"),
        "settings": {
            "epochs": arguments.epochs, "batch_size": arguments.batch_size, "eval_count": 1, "eval_samples": 0,
            "token_budget": 1024, "device": arguments.device,
            "max_seq_length": max(len(row.ids) for row in (*train, *validation)),
        },
        "train": [(row.ids, [int(flag) for flag in row.trained]) for row in train],
        "validation": [(row.ids, [int(flag) for flag in row.trained]) for row in validation],
        "questions": [
            {"question": one.question, "answers": one.answers, "answerable": one.answerable} for one in questions
        ],
        "prompts": prompts, "max_tokens": arguments.max_tokens,
        "general": [vars(question) for question in general],
        "continued": [(one.prompt, one.continuations) for one in (tokenized(q, app.tokenizer) for q in general)],
        "stops": sorted({app.template.end, app.tokenizer.eos_token_id} - {None}),
    }  # fmt: skip
    (folder / TASK).write_text(json.dumps(task), encoding="utf-8")
    tokens = sum(len(row.ids) for row in train)
    print(f"{len(train)} rows of {tokens / len(train):.0f} tokens on average", file=sys.stderr, flush=True)
    return hash_file(folder / TASK)


def known(results: Path, plan: str, *, failed: bool = False) -> dict[str, dict[str, Any]]:
    """What was measured by this plan, by method: the newest of each; with or without those that failed."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.is_file() else []
    found = {line["method"]: line for line in map(json.loads, lines) if line["plan"] == plan}
    return {name: line for name, line in found.items() if failed or "failed" not in line}


def in_process(method: str, workspace: Path) -> dict[str, Any]:
    """The figures of one method, from a process of its own; `failed` holds the last line of one that failed."""
    command = [sys.executable, __file__, "--worker", method, "--workspace", str(workspace)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return figures
    said = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
    return {"failed": said[-1]}


def measure(method: str, workspace: Path) -> dict[str, Any]:
    """Trains by one method, and asks what it trained."""
    import torch

    from ragft.config import FinetuneSection
    from ragft.finetune import devices
    from ragft.finetune.fast import decoder
    from ragft.finetune.lineage import LiveModel
    from ragft.finetune.methods import METHODS as TABLE
    from ragft.finetune.peft_backend.live import load_live
    from ragft.finetune.training import train
    from ragft.messages import Rendered

    task = json.loads((workspace / TASK).read_text(encoding="utf-8"))
    base, device = Path(task["base"]), devices.resolve(task["settings"]["device"])
    figures: dict[str, Any] = {}
    if method == BASE:
        model = decoder.load(base, torch.float32, attention_name="eager", device=device)
    else:
        rows, validation = (
            [Rendered(tuple(ids), tuple(map(bool, trained))) for ids, trained in task[part]]
            for part in ("train", "validation")
        )
        folder = workspace / "trained" / method
        shutil.rmtree(folder, ignore_errors=True)  # of an interrupted run: its time and its memory are lost
        begin = time.process_time()
        report = train(
            base, rows, validation, FinetuneSection(method=method, **task["settings"]), seed=task["seed"], folder=folder
        )
        figures = {
            "cpu_seconds": time.process_time() - begin, "seconds": report.seconds, "peak_mib": peak_mib(),
            "peak_card_mib": report.peak_card_mib, "backend": report.backend, "validation_loss": report.best_loss,
            "steps": report.steps, "tokens_per_second": report.tokens_per_second,
            "disk_mib": sum(path.stat().st_size for path in report.adapter.iterdir()) / 2**20,
        }  # fmt: skip
        quantised = TABLE[method].quantisation is not None
        model = load_live(LiveModel(base, report.adapter, quantised, report.backend), device)
    figures |= asked(model, task)
    if method != BASE:
        shutil.rmtree(folder)
    return figures


def peak_mib() -> float:
    """Largest resident memory of this process. Not `ru_maxrss`, which begins with that of the parent."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def asked(model: Any, task: dict[str, Any]) -> dict[str, Any]:
    """What a live model knows: a flag for each question and each general question."""
    from transformers import AutoTokenizer

    from ragft.config import AnswerSection
    from ragft.data.questions import Question
    from ragft.evaluate.metrics import METRICS as SCORES
    from ragft.evaluate.metrics import Rules
    from ragft.evaluate.metrics.form import format_valid
    from ragft.evaluate.records import Record
    from ragft.evaluate.suites.choices import ChoiceQuestion, is_right_per_character
    from ragft.finetune import devices
    from ragft.finetune.fast import decoder
    from ragft.finetune.likelihood import Continued, log_likelihoods

    dtype, rules = decoder.compute_dtype(devices.of(model)), Rules.of(AnswerSection(**task["answer"]))
    tokenizer = AutoTokenizer.from_pretrained(task["base"], local_files_only=True)
    begin = time.perf_counter()
    answers = greedy(model, task["prompts"], task["stops"], task["max_tokens"], dtype)
    exact, form, texts = list[bool](), list[bool](), list[str]()
    for values, ids in zip(task["questions"], answers, strict=True):
        ended = bool(ids) and ids[-1] in task["stops"]
        text = tokenizer.decode(ids[:-1] if ended else ids)
        question = Question("", values["question"], tuple(values["answers"]), (), values["answerable"])
        exact.append(ended and SCORES["exact_match"].score(question, Record("", "", text), rules).value == 1.0)
        form.append(ended and bool(format_valid(text, rules)))
        texts.append(text)
    continued = [Continued(tuple(prompt), tuple(map(tuple, ends))) for prompt, ends in task["continued"]]
    likelihoods = log_likelihoods(model, continued, dtype)
    general = [
        is_right_per_character(ChoiceQuestion(**{**values, "choices": tuple(values["choices"])}), found)
        for values, found in zip(task["general"], likelihoods, strict=True)
    ]
    return {
        "exact_match": exact, "form": form, "general": general, "answers": texts,
        "asking_seconds": time.perf_counter() - begin,
    }  # fmt: skip


def greedy(
    model: Any, prompts: Sequence[Sequence[int]], stops: Sequence[int], max_tokens: int, dtype: Any
) -> list[list[int]]:
    """Greedy answers of a live model, each with the token that ended it, in batches of prompts of similar length."""
    from ragft.finetune import devices

    order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
    found: list[list[int]] = [[] for _ in prompts]
    at_once = PROMPTS_AT_ONCE[devices.of(model).type]
    for start in range(0, len(order), at_once):
        group = order[start : start + at_once]
        batch = batch_of_answers(model, [prompts[at] for at in group], stops, max_tokens, dtype)
        for at, answer in zip(group, batch, strict=True):
            found[at] = answer
    return found


def batch_of_answers(
    model: Any, prompts: Sequence[Sequence[int]], stops: Sequence[int], max_tokens: int, dtype: Any
) -> list[list[int]]:
    """Greedy answers to prompts that are padded on the left.

    Virtual tokens stand right before each prompt, behind its padding, as they do in training, where nothing is padded
    on the left. PEFT's own generation puts them before the padding, and drops the positions that would make up for it.
    """
    import torch
    from transformers import DynamicCache

    from ragft.finetune import devices
    from ragft.finetune.peft_backend.forward import computing_in

    device = devices.of(model)
    longest, count = max(map(len, prompts)), len(prompts)
    padding = [longest - len(prompt) for prompt in prompts]
    ids = torch.tensor([[stops[0]] * pad + list(ids) for pad, ids in zip(padding, prompts, strict=True)], device=device)
    mask = torch.ones_like(ids)
    for row, pad in enumerate(padding):
        mask[row, :pad] = 0
    settings = getattr(model, "active_peft_config", None)
    virtual = settings.num_virtual_tokens if settings is not None and settings.is_prompt_learning else 0
    network = model.get_base_model() if virtual else model
    cache, given = DynamicCache(), {"input_ids": ids}
    with torch.inference_mode(), computing_in(dtype, device):
        if virtual:
            front = torch.ones(count, virtual, dtype=mask.dtype, device=device)
            if settings.peft_type == "PREFIX_TUNING":
                cache, mask = model.get_prompt(count), torch.cat([front, mask], dim=1)
            else:
                learnt, read = model.get_prompt(count), network.get_input_embeddings()(ids)
                rows = zip(padding, read, learnt, strict=True)
                given = {"inputs_embeds": torch.stack([torch.cat([r[:pad], v, r[pad:]]) for pad, r, v in rows])}
                # What is padding stays in front.
                mask = torch.cat([mask, front], dim=1).sort(dim=1, stable=True).values
        answers: list[list[int]] = [[] for _ in prompts]
        going = set(range(count))
        width = longest + (virtual if "inputs_embeds" in given else 0)
        for _ in range(max_tokens):
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -width:]
            out = network(
                **given, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
                logits_to_keep=1,
            )  # fmt: skip
            cache, chosen = out.past_key_values, out.logits[:, -1].argmax(dim=-1)
            for row in sorted(going):
                answers[row].append(int(chosen[row]))
                if answers[row][-1] in stops:
                    going.discard(row)
            if not going:
                break
            given, width = {"input_ids": chosen[:, None]}, 1
            mask = torch.cat([mask, torch.ones(count, 1, dtype=mask.dtype, device=device)], dim=1)
    return answers


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """All methods; shares with their 95 % intervals, general ability as points against the base.

    Memory is that of the card, where there is one, else that of the process.
    """
    from ragft.evaluate.suites.forgetting import paired_interval, wilson

    base = next((row for row in rows if row["method"] == BASE and "failed" not in row), None)
    found = Table(
        "method", "exact match %", "form %", "validation loss", "general %", "against base (points)", "training s",
        "processor s", "tokens/s", "peak MiB", "on disk MiB",
    )  # fmt: skip

    def share(flags: Sequence[bool]) -> str:
        if not flags:
            return "-"
        of = wilson(sum(flags), len(flags))
        return f"{100 * of.share:.1f} ({100 * of.low:.0f}-{100 * of.high:.0f})"

    for row in rows:
        if "failed" in row:
            found.add_row(row["method"], f"failed: {row['failed'][:150]}")
            continue
        lost = "-"
        if row["general"] and base is not None and row is not base:
            pairs = list(zip(base["general"], row["general"], strict=True))
            gains, losses = pairs.count((False, True)), pairs.count((True, False))
            low, high = paired_interval(gains, losses, len(pairs))
            lost = f"{100 * (gains - losses) / len(pairs):+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        trained = ["-"] * 5
        if "seconds" in row:
            rate = f"{row['tokens_per_second']:.0f}"
            trained = [
                f"{row['seconds']:.0f}",
                f"{row['cpu_seconds']:.0f}",
                rate,
                f"{row['peak_card_mib'] or row['peak_mib']:.0f}",
            ]
            trained.append(f"{row['disk_mib']:.2f}")
        loss = f"{row['validation_loss']:.3f}" if "validation_loss" in row else "-"
        shares = [share(row["exact_match"]), share(row["form"]), loss, share(row["general"]), lost]
        found.add_row(row["method"], *shares, *trained)
    return found


if __name__ == "__main__":
    main()
