"""The data: examples split, mixed with passages, and rendered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragft.artifacts import Artifact
from ragft.console import some
from ragft.conversation import CONDENSING_VERSION, questions_in
from ragft.data.duplicates import normal
from ragft.data.examples import Example, each_example, read_examples
from ragft.data.jsonl import LinesOf, write_lines
from ragft.data.split import SPLIT_VERSION, validating
from ragft.data.split import split as split_examples
from ragft.errors import RagftError, UsageError
from ragft.finetune.methods import METHODS
from ragft.messages import Message, Preferred, Rendered, Rewarded, turn
from ragft.stages.application import Application, Inputs
from ragft.stages.index import training_snapshot
from ragft.stages.inputs import MIX, SPLIT
from ragft.templates import Unrenderable

if TYPE_CHECKING:
    from index.search.search import Hit
    from index.store.snapshot import Snapshot
    from ragft.data.mix import Mixed
    from ragft.data.row_maker import Expansion
    from ragft.data.rows import Row

# Distractors are mined from this many times as many hits as a prompt holds, so that gold passages leave enough.
MINING_DEPTH = 4
PARTS = ("train", "validation")
Lines = Iterator[dict[str, Any]]

# Repeats are practice; a validation loss gains nothing from them, and it is of examples as they come.
_ONCE = {"repeats": 1, "temperature": 1.0}


def split(app: Application) -> Artifact:
    """Training and validation examples."""

    def work(folder: Path) -> dict[str, Any]:
        if app.config.data.validation is None:
            return _split_into(app, folder)
        parts = (app.examples, _held_out(app, app.config.data.validation))
        for name, part in zip(PARTS, parts, strict=True):
            write_lines(folder / f"{name}.jsonl", (example.to_json() for example in part))
        return {name: len(part) for name, part in zip(PARTS, parts, strict=True)}

    inputs = {
        "examples": app.hash_input(app.config.data.examples, "data.examples"),
        "validation": app.hash_input(app.config.data.validation, "data.validation"),
        "version": SPLIT_VERSION,
        "seed": app.fixed_seed,
    }
    return app.once(SPLIT.name, lambda: app.build(Inputs((SPLIT,), inputs), work))


def _split_into(app: Application, folder: Path) -> dict[str, Any]:
    """Splits the file of examples into a file for each part, reading it row by row; returns the figures."""
    data, told = app.config.data, [app.reporter.say]

    def read() -> Iterator[Example]:
        # What is left out of the file is said once, though it is read several times.
        return each_example(data.examples, told=told.pop() if told else lambda _: None)

    words = folder / "words.bin"
    settings = data.split
    chosen = validating(
        read, settings.validation_share, app.fixed_seed, by=settings.by, stratify=settings.stratify, words=words
    )
    words.unlink(missing_ok=True)
    tags: dict[str, Counter[str]] = {name: Counter() for name in PARTS}

    def part_of(name: str, validates: bool) -> Iterator[dict[str, Any]]:
        for example, one in zip(read(), chosen.tolist(), strict=True):
            if one == validates:
                tags[name].update(example.tags)
                yield example.to_json()

    for name, validates in zip(PARTS, (False, True), strict=True):
        write_lines(folder / f"{name}.jsonl", part_of(name, validates))
    figures: dict[str, Any] = {"train": int((~chosen).sum()), "validation": int(chosen.sum())}
    return (
        {**figures, "tags": {name: dict(tags[name].most_common()) for name in PARTS}} if any(tags.values()) else figures
    )


def parted(app: Application) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """What to train on and what to validate with, as `split` has them: parts of the examples, or a file for each."""
    data, settings = app.config.data, app.config.data.split
    if data.validation is not None:
        return app.examples, _held_out(app, data.validation)
    return split_examples(
        app.examples, settings.validation_share, app.fixed_seed, by=settings.by, stratify=settings.stratify
    )


def _held_out(app: Application, path: Path) -> tuple[Example, ...]:
    """What `data.validation` names.

    Raises:
        UsageError: it repeats training examples.
    """
    data = app.config.data
    validation = read_examples(path, "data.validation", app.reporter.say)
    trained = {normal(example.spoken): example.id for example in app.examples}
    both = [(one.id, trained[text]) for one in validation if (text := normal(one.spoken)) in trained]
    if both:
        raise UsageError(
            f"{path} repeats training examples ({len(both)} in all; the first: {both[0][0]!r} is example "
            f"{both[0][1]!r} of {data.examples}): remove them from one of the two files."
        )
    return validation


def mix(app: Application) -> Artifact:
    """Training and validation rows with passages.

    New documents in the live index make no new mix: the passages of a training row are a sample of what retrieval looks
    like; facts are the index's business. That is why an index can be refreshed without retraining.
    """
    return app.once(MIX.name, lambda: _mix(app))


def _mix(app: Application) -> Artifact:
    from ragft.data.answers import ANSWERS_VERSION
    from ragft.data.mix import MIX_VERSION

    config, parts = app.config, split(app)
    mixing = config.data.mix

    def work(folder: Path) -> dict[str, Any]:
        from ragft.data.mix import mix

        if app.model_tokenizer is not None:
            app.template.check_trainable()
        snapshot = training_snapshot(app)
        retriever = app.retriever(snapshot)

        def search(questions: Sequence[str]) -> list[tuple[Hit, ...]]:
            return [found.hits for found in retriever.search(questions, MINING_DEPTH * mixing.passages)]

        figures: dict[str, Any] = {"snapshot": snapshot.id}
        general = _general(app)
        for name, settings in zip(PARTS, (mixing, mixing.model_copy(update=_ONCE)), strict=True):
            examples = LinesOf(parts.folder / f"{name}.jsonl", Example.from_json)
            waiting = folder / "waiting.jsonl"
            mixed = mix(
                examples, general[name], snapshot, search, settings,
                system=config.prompt.system, refusal=config.answer.refusal, seed=config.seed,
                expansion=_expansion(app, snapshot), value=config.answer.value,
                query=lambda example: retriever.query(example.question, example.history, config.serve.condense),
                waiting=waiting,
            )  # fmt: skip
            kinds, beside = Counter[str](), Counter[str]()

            def counted(mixed: Mixed = mixed, kinds: Counter[str] = kinds, beside: Counter[str] = beside) -> Lines:
                for row in mixed.rows:
                    kinds[row.kind] += 1
                    beside.update(adversarial=row.adversarial, made_up=bool(row.made_up))
                    yield row.to_json()

            write_lines(folder / f"{name}.jsonl", counted())
            waiting.unlink()
            figures[name] = {"rows": len(mixed.rows), **{kind: kinds[kind] for kind in sorted(kinds)}}
            for share, what in ((mixing.adversarial_share, "adversarial"), (mixing.false_share, "made_up")):
                if share:
                    figures[name][what] = beside[what]
            if mixed.undecided:
                figures[name]["undecided"] = list(mixed.undecided)
                app.reporter.say(_undecided(name, mixed.undecided, len(examples), mixing.undecided))
        return figures

    # The documents of the live index are no input: see `mix`.
    apart = config.data.documents is not None
    inputs = {
        "split": parts.fingerprint,
        "versions": [MIX_VERSION, ANSWERS_VERSION],
        "general": app.hash_input(mixing.general, "data.mix.general"),
        "documents": [(entry.id, entry.hash) for entry in training_snapshot(app).documents()] if apart else None,
        **({"max_seq_length": None} if config.index.search.expand == "none" else _what_fits(app)),
        **_how_condensed(app),
        "model_tokenizer": app.model_tokenizer.fingerprint if app.model_tokenizer else None,
        **app.encoder_hashes(),
    }
    return app.build(Inputs((MIX,), inputs, {"split": parts.fingerprint}), work)


def _how_condensed(app: Application) -> dict[str, Any]:
    """What decides by which words passages are mined for follow-ups, if there are any."""
    validation = app.config.data.validation
    held_out = () if validation is None else read_examples(validation, "data.validation")
    if not any(questions_in(example.history) for example in (*app.examples, *held_out)):
        return {}
    return {"condensed": None if app.config.serve.condense == "off" else CONDENSING_VERSION}


def _what_fits(app: Application) -> dict[str, Any]:
    """What decides how far the passages of a row are expanded."""
    return {"max_seq_length": app.config.finetune.max_seq_length, "template": app.template.hash}


def _undecided(part: str, names: Sequence[str], of: int, policy: str) -> str:
    then = "they are left out" if policy == "drop" else "any passage of a source is shown for it"
    return (
        f"{part}: of {len(names)} of {of} examples no passage of the sources was found to hold the answer, so {then} "
        f"(data.mix.undecided = {policy}): {some(names)}."
    )


def _expansion(app: Application, snapshot: Snapshot) -> Expansion | None:
    """What the passages of rows are expanded by, so that they look like those of prompts; None: nothing."""
    from index.search.surroundings import surroundings
    from ragft.data.row_maker import Expansion

    settings, longest = app.config.index.search.settings(), app.config.finetune.max_seq_length
    if settings.expand == "none":
        return None

    def fits(messages: Sequence[Message]) -> bool:
        try:
            return len(app.template.training(messages).ids) <= longest
        except Unrenderable:
            return False  # the row is left out, and named, where rows are rendered

    view = snapshot.view(None, settings.filter)
    return Expansion(
        around=lambda number: surroundings(snapshot, view, int(snapshot.order[number]), settings.expand),
        fits=fits,
    )


def _general(app: Application) -> dict[str, tuple[Example, ...]]:
    """General instructions by part, split as the examples are, so that none that validates is trained on."""
    data = app.config.data
    if data.mix.general is None or data.mix.general_share == 0:
        return dict.fromkeys(PARTS, ())
    general = read_examples(data.mix.general, "data.mix.general")
    return dict(zip(PARTS, split_examples(general, data.split.validation_share, app.fixed_seed), strict=True))


def rows(app: Application, part: str) -> Sequence[Row]:
    """The mixed rows of a part, `train` or `validation`, read when they are asked for."""
    from ragft.data.rows import Row

    return LinesOf(mix(app).folder / f"{part}.jsonl", Row.from_json)


def refuse_without_rejected(app: Application) -> None:
    """Refuses examples that the method cannot learn from, before anything is mixed.

    Raises:
        UsageError: the method learns from pairs, and examples have no worse answer.
    """
    method = app.config.finetune.method
    if METHODS[method].rows != "preferences":
        return
    examples = app.examples
    lacking = [example.id for example in examples if not example.rejected]
    if not lacking:
        return
    if method != "kto":
        raise UsageError(
            f"finetune.method = {method} learns from pairs of a better and a worse answer, and {len(lacking)} of "
            f"{len(examples)} examples have no `rejected` (the first: {lacking[0]!r}): add it, or set finetune.method "
            "to kto, which takes both kinds."
        )
    if len(lacking) == len(examples):
        raise UsageError(
            f"finetune.method = kto learns from worse answers, too, and none of the {len(examples)} examples has "
            "`rejected`: add it to some, or set finetune.method to lora."
        )


def rendered(app: Application, part: str) -> list[Rendered]:
    """The rows of a part as token ids, as `finetune.method` takes them: `Preferred` with their worse answers, or
    `Rewarded`. Those that cannot be learnt are left out, counted, and the first is named.

    Raises:
        RagftError: none can.
        UsageError: as `refuse_without_rejected`.
    """
    return app.once(f"rendered {part} rows", lambda: _rendered(app, part))


def _rendered(app: Application, part: str) -> list[Rendered]:
    mixed = rows(app, part)
    refuse_without_rejected(app)
    render = {"answers": _answered, "preferences": _preferred, "prompts": _rewarded}
    of = render[METHODS[app.config.finetune.method].rows]
    named = ((f"Row {number} of example {row.example_id!r}", row) for number, row in enumerate(mixed))
    learnt, faults = app.template.learnable(named, lambda row: of(app, row))
    if faults:
        counted = f"{len(faults)} of {len(mixed)} {part} rows cannot be learnt. {faults[0]}"
        if not learnt:
            raise RagftError(counted)
        app.reporter.say(counted)
    return learnt


def _answered(app: Application, row: Row) -> Rendered:
    return app.template.training(row.messages, app.config.finetune.train_on)


def _preferred(app: Application, row: Row) -> Rendered:
    chosen = app.template.training(row.messages)
    if row.rejected:
        worse = app.template.training((*row.messages[:-1], turn("assistant", row.rejected)))
        return Preferred(chosen.ids, chosen.trained, worse)
    if app.config.finetune.method != "kto":
        raise Unrenderable("It has no worse answer that differs from the answer, without which there is no preference.")
    return Preferred(chosen.ids, chosen.trained)


def _rewarded(app: Application, row: Row) -> Rendered:
    from ragft.evaluate.metrics import Rules
    from ragft.finetune.rewards import Reward

    chosen = app.template.training(row.messages)
    decode = app.template.tokenizer.decode
    reward = Reward(
        row.messages[-1]["content"], row.gold, Rules.of(app.config.answer), app.config.finetune.rewards,
        lambda ids: str(decode(ids, skip_special_tokens=True)), chosen.ids[-1],
    )  # fmt: skip
    if row.kind == "general" or not reward.rates:
        raise Unrenderable("Nothing about its answers can be verified, so that they earn nothing.")
    return Rewarded(chosen.ids, chosen.trained, reward)
