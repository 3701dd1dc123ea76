"""The suite `forgetting`: general ability of the base and of the deployed model, on the same questions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from index.durable import write_file
from ragft.artifacts import Artifact, hash_file
from ragft.console import counted
from ragft.data.jsonl import read_objects, to_lines
from ragft.data.questions import sample
from ragft.errors import RagftError, UsageError
from ragft.evaluate.suites.choices import ChoiceQuestion, is_right, is_right_per_character, read_choices
from ragft.evaluate.suites.forgetting import FORGETTING_VERSION, PRIMARY, Forgotten, compared, together
from ragft.evaluate.suites.instructions import Instructed, read_instructions
from ragft.finetune.registry import has_rounded_weights
from ragft.stages.application import Application, Inputs
from ragft.stages.following import generated, instructed
from ragft.stages.inputs import FORGETTING, GENERAL

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ragft.finetune.likelihood import Continued

T = TypeVar("T")
FILES = "evaluate.general.files"
_LIKELIHOODS = "likelihoods.jsonl"
_LIKELIHOODS_VERSION = 1
_SCORES = {"acc": is_right, "acc_norm": is_right_per_character}

Likelihoods = list[list[float] | None]
"""For each question, the log-likelihood of each choice in nats; None where the model cannot read it."""


@dataclass(frozen=True)
class Task(Generic[T]):
    """The questions of one file that are asked.

    Attributes:
        name: that of the file.
        hash: over the file.
        left_out: how many questions no rule verifies.
    """

    name: str
    hash: str
    questions: tuple[T, ...]
    left_out: int = 0


def forgetting(app: Application, *, generate: bool = False) -> Artifact:
    """What tuning cost in general ability, with intervals and a verdict for each task.

    Where the deployed model has weights that were rounded to NF4, questions of multiple choice are asked of the base
    with such weights, too, so that what rounding costs is told apart from what training does.

    Args:
        generate: answer the files of instructions, too, through the engine; else they are left out, which is said.

    Raises:
        UsageError: no file of questions is named, or one cannot be read.
        RagftError: there is no tuned model, or a task without a question that both models can read.
    """
    choices, instructions = tasks(app, generate)
    deployed = app.registry.deployed()
    folders = {
        "base": (app.base, app.base_hash),
        "tuned": (app.model_folders(["hybrid"])["tuned"], deployed.fingerprint),
    }
    likelihoods, said = dict[str, Artifact](), dict[str, Artifact]()
    for model, where in folders.items():
        if choices:
            likelihoods[model] = _likelihoods(app, model, *where, choices)
        if instructions:
            said[model] = generated(app, model, *where, instructions)
    if choices and has_rounded_weights(deployed):
        likelihoods["rounded"] = _likelihoods(app, "rounded base", *folders["base"], choices, rounded=True)
    parents = {
        f"{kind} of {model}": artifact.fingerprint
        for kind, made in (("likelihoods", likelihoods), ("answers", said))
        for model, artifact in made.items()
    }

    def work(folder: Path) -> dict[str, Any]:
        results, rounding, unread = list[Forgotten](), list[Forgotten](), dict[str, int]()
        margin = app.config.evaluate.general.margin
        if choices:
            found = {model: _read(artifact, choices) for model, artifact in likelihoods.items()}
            results, unread = results_of(choices, found["base"], found["tuned"], margin)
            if "rounded" in found:
                rounding, _ = results_of(choices, found["base"], found["rounded"], margin)
        if instructions:
            results += instructed(instructions, said["base"], said["tuned"], margin)
        figures = {
            "results": [asdict(one) for one in results],
            "rounding": [asdict(one) for one in rounding if one.primary], "unread": unread,
            "unverifiable": {task.name: task.left_out for task in instructions},
            "failed": {model: answers.figures["failed"] for model, answers in said.items()},
            "model": deployed.fingerprint,
        }  # fmt: skip
        write_file(folder / "forgetting.json", json.dumps(figures, indent=1).encode())
        return figures

    return app.build(Inputs((FORGETTING,), {**parents, "version": FORGETTING_VERSION}, parents), work)


def tasks(app: Application, generate: bool = False) -> tuple[list[Task[ChoiceQuestion]], list[Task[Instructed]]]:
    """The tasks of the configuration, those of multiple choice and, with `generate`, those of instructions.

    Each has a seeded sample of its questions.
    """
    settings, seed = app.config.evaluate.general, app.config.seed
    if not settings.files:
        raise UsageError(
            f"{FILES} names no file of questions: name some, as in --set '{FILES}=[arc_easy.jsonl]'; each line holds "
            '{"id", "question", "choices", "answer"}.'
        )
    names = [path.stem for path in settings.files]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"{FILES} names two files {twice!r}, and a task has the name of its file: rename one.")
    choices, instructions = list[Task[ChoiceQuestion]](), list[Task[Instructed]]()
    for path in settings.files:
        where, first = next(read_objects(path, "questions", FILES))
        if "choices" in first:
            questions = sample(read_choices(path, FILES), settings.limit, seed)
            choices.append(Task(path.stem, hash_file(path), questions))
        elif "instruction_id_list" in first:
            asked = read_instructions(path, FILES)
            verifiable = tuple(one for one in asked if one.verifiable)
            if not generate:
                app.reporter.say(
                    f"{path.name} is left out: an engine must answer its {len(verifiable)} instructions, which takes "
                    "longer; add --generate for that."
                )
            elif not verifiable:
                raise UsageError(f"{path} holds no instruction that a rule verifies: take it from {FILES}.")
            else:
                kept = sample(verifiable, settings.limit, seed)
                left_out = len(asked) - len(verifiable)
                instructions.append(Task(path.stem, hash_file(path), kept, left_out))
        else:
            raise UsageError(
                f"{where}: field 'choices' is missing: {FILES} takes questions of multiple choice, and instructions in "
                "the form of IFEval."
            )
    if not choices and not instructions:
        raise UsageError(f"{FILES} names files of instructions alone: add --generate, or a file of multiple choice.")
    return choices, instructions


def _likelihoods(
    app: Application, model: str, folder: Path, version: str, found: Sequence[Task[ChoiceQuestion]],
    rounded: bool = False,
) -> Artifact:  # fmt: skip
    """The likelihoods of one model, which another tuned model does not make stale for the base.

    Args:
        rounded: of the model with its weights rounded to NF4.
    """
    from ragft.finetune import devices
    from ragft.finetune.fast import decoder
    from ragft.finetune.peft_backend.attach import quantise

    device = devices.resolve(app.config.finetune.device)
    dtype = decoder.compute_dtype(device)

    def work(growing: Path) -> dict[str, Any]:
        network = decoder.load(folder, dtype, attention_name="eager", device=device)
        if rounded:
            quantise(network)
        rows = []
        for task in found:
            with app.reporter.progress(f"{task.name}, {model} model") as advance:
                found_here = likelihoods_of(network, app.tokenizer, task.questions, dtype, advance)
            rows += [
                {"task": task.name, "question_id": question.id, "likelihoods": values}
                for question, values in zip(task.questions, found_here, strict=True)
            ]
        write_file(growing / _LIKELIHOODS, to_lines(rows))
        devices.release()
        return {"questions": len(rows), "dtype": str(dtype).removeprefix("torch.")}

    inputs = {
        "model": version, "tasks": {task.name: task.hash for task in found}, "dtype": str(dtype),
        "limit": app.config.evaluate.general.limit, "version": _LIKELIHOODS_VERSION,
        **({"rounded": True} if rounded else {}),
    }  # fmt: skip
    return app.build(Inputs((GENERAL,), inputs), work)


def likelihoods_of(
    model: nn.Module, tokenizer: Any, questions: Sequence[ChoiceQuestion], dtype: torch.dtype,
    advance: Callable[[int, int, str], None],
) -> Likelihoods:  # fmt: skip
    """What a model finds each choice of each question to be.

    Args:
        advance: called with (done, total, note).
    """
    from ragft.finetune.likelihood import log_likelihoods

    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30
    asked = [tokenized(question, tokenizer) for question in questions]
    read = [at for at, one in enumerate(asked) if one.longest <= longest]
    values = log_likelihoods(
        model, [asked[at] for at in read], dtype, lambda done, total: advance(done, total, "questions")
    )
    by_question = dict(zip(read, values, strict=True))
    return [by_question.get(at) for at in range(len(questions))]


def tokenized(question: ChoiceQuestion, tokenizer: Any) -> Continued:
    """A question with its choices as token ids, divided where all of its texts are the prompt still."""
    from ragft.finetune.likelihood import Continued

    def ids_of(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    alone = ids_of(question.prompt)
    whole = [ids_of(f"{question.prompt} {choice}") for choice in question.choices]
    # A tokenizer may join the last character of a prompt with what follows; what is scored begins before that.
    border = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(alone, *whole, strict=False)))
    # Models that are trained with a token in front of every text know no other texts.
    front = tokenizer("a").input_ids[:1]
    begin = front if front == [tokenizer.bos_token_id] else []
    return Continued((*begin, *alone[:border]), tuple(tuple(ids[border:]) for ids in whole))


def _read(artifact: Artifact, found: Sequence[Task[ChoiceQuestion]]) -> dict[str, Likelihoods]:
    by_task: dict[str, Likelihoods] = {task.name: [] for task in found}
    for _, row in read_objects(artifact.folder / _LIKELIHOODS, "likelihoods", ""):
        by_task[row["task"]].append(row["likelihoods"])
    return by_task


def results_of(
    found: Sequence[Task[ChoiceQuestion]],
    base: Mapping[str, Likelihoods],
    tuned: Mapping[str, Likelihoods],
    margin: float,
) -> tuple[list[Forgotten], dict[str, int]]:
    """The comparison of each task by each metric, and of all tasks together; and how many questions were not read.

    Raises:
        RagftError: no question of a task fits both models.
    """
    results, unread = list[Forgotten](), dict[str, int]()
    primary = PRIMARY["multiple choice"]
    by_task: dict[str, tuple[list[bool], list[bool]]] = {}
    for task in found:
        both = [
            (question, before, after)
            for question, before, after in zip(task.questions, base[task.name], tuned[task.name], strict=True)
            if before is not None and after is not None
        ]
        unread[task.name] = len(task.questions) - len(both)
        if not both:
            raise RagftError(
                f"None of {counted(len(task.questions), 'question')} of {task.name} fits the positions of the models: "
                f"take it from {FILES}."
            )
        for metric, is_correct in _SCORES.items():
            before = [is_correct(question, values) for question, values, _ in both]
            after = [is_correct(question, values) for question, _, values in both]
            results.append(compared(task.name, metric, before, after, margin=margin, primary=metric == primary))
            if metric == primary:
                by_task[task.name] = (before, after)
    if len(by_task) > 1:
        results.append(together(by_task, primary, margin=margin))
    return results, unread
