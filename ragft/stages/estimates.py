"""How long the stages of this configuration will take on this machine, and what would shorten them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ragft.artifacts import Artifact, artifacts_in
from ragft.console import duration
from ragft.errors import RagftError
from ragft.finetune.fast.faults import advise_recomputing
from ragft.finetune.methods import METHODS
from ragft.prompts import conversation, turn
from ragft.setups import SETUPS
from ragft.stages.application import Application
from ragft.stages.data import PARTS, mix, parted, rendered
from ragft.stages.machine import memory_gib
from ragft.stages.prompt_choice import tried

if TYPE_CHECKING:
    from ragft.messages import Message, Rendered

Basis = Literal["measured", "earlier", "unknown"]
"""`measured`: from steps timed now; `earlier`: from what the same stage took in this workspace before."""

_LONG_SECONDS = 1800.0
_SAMPLED_DOCUMENTS = 40


@dataclass(frozen=True)
class Part:
    """How long one part of a run takes from nothing; `seconds` is None where it cannot be reckoned."""

    name: str
    seconds: float | None
    basis: Basis


@dataclass(frozen=True)
class Estimate:
    """What training takes, and as far as it can be reckoned, what comes after it.

    Attributes:
        rows: training rows; `longest` is the longest of them in tokens.
        rows_exist: whether they are those that training will take, and not made up from examples and documents.
        slower: why PEFT trains what the fast back end was asked for; None where it does not.
    """

    rows: int
    longest: int
    rows_exist: bool
    memory_mib: float
    parts: tuple[Part, ...]
    shorter: tuple[str, ...]
    slower: str | None = None

    @property
    def training_seconds(self) -> float:
        return self.parts[0].seconds or 0.0

    def sentence(self) -> str:
        """All of it for people."""
        about = "" if self.rows_exist else ", estimated from examples and documents"
        known = [f"{part.name} {duration(part.seconds)} ({part.basis})" for part in self.parts if part.seconds]
        unknown = [part.name for part in self.parts if part.seconds is None]
        text = f"{self.rows} rows of at most {self.longest} tokens{about}; {self.memory_mib / 1024:.1f} GiB at the peak"
        text += f"; {', '.join(known)}"
        if unknown:
            text += f"; the first run will tell how long {' and '.join(unknown)} take"
        return f"{text}; shorter with {', '.join(self.shorter)}" if self.shorter else text


def estimate(app: Application) -> Estimate:
    """Memory by sizes, training by real steps that are timed now, and the rest by what it took here before.

    Raises:
        RagftError: there are no rows to train on, or training needs more memory than the machine has.
    """
    from ragft.finetune import devices
    from ragft.finetune.estimate import ModelSizes, measured_rate, memory, refuse_small_card, seconds
    from ragft.finetune.fast.batching import trainable

    settings, seed = app.config.finetune, app.config.seed
    train, validation, exist = _rows(app)
    usable = trainable(train, settings.max_seq_length)
    if not usable:
        raise RagftError(f"None of the {len(train)} training rows fits finetune.max_seq_length; raise it.")
    sizes = ModelSizes.of(app.base)
    device = devices.resolve(settings.device)
    needed = memory(sizes, usable, settings, device)
    refuse_small_card(app.base, usable, settings)
    if device.type == "cpu" and needed.total > 1024 * memory_gib():
        raise RagftError(
            f"Training would take about {needed.total / 1024:.1f} GiB and this machine has {memory_gib():.1f}: "
            f"{advise_recomputing(settings)}lower finetune.batch_size or finetune.token_budget, or take a smaller "
            "model."
        )
    reasons: list[RagftError] = []
    rate = measured_rate(app.base, sizes, usable, settings, seed=seed, fell_back=reasons.append)
    training = seconds(sizes, usable, trainable(validation, settings.max_seq_length), settings, rate=rate)
    parts = (Part("training", training, "measured"), _proof(app), _evaluation(app))
    longest = max(len(row.ids) for row in train)
    slower = str(reasons[0]) if reasons else None
    return Estimate(len(train), longest, exist, needed.total, parts, _shorter(app, training), slower)


def _rows(app: Application) -> tuple[Sequence[Rendered], Sequence[Rendered], bool]:
    """The rows of training and validation, and whether they are the real ones."""
    if (app.index_root / "CURRENT").exists():
        mix(app)  # seconds, where the index is there
        return rendered(app, "train"), rendered(app, "validation"), True
    from index.documents.chunking import Chunker
    from ragft.data.shares import passages_of_row

    config, draw = app.config, random.Random(app.config.seed)
    documents = app.training_documents[0]
    some = draw.sample(documents, min(_SAMPLED_DOCUMENTS, len(documents)))
    settings = config.index.refresh_settings(config.seed, model=app.model_tokenizer)
    chunker = Chunker(app.encoder.tokenizer, settings.chunking(app.encoder), settings.model)
    passages = [chunk.passage for document in some for chunk in chunker.cut(document).chunks]
    mixing = config.data.mix

    def rows(part: str, repeats: int) -> list[Rendered]:
        found: list[tuple[str, Sequence[Message]]] = []
        for example in parts[part] * repeats:
            closed = draw.random() < mixing.closed_book_share
            texts = None if closed else draw.sample(passages, min(passages_of_row(mixing, draw), len(passages)))
            messages = conversation(
                config.prompt.system, example.question, texts, history=example.history,
                following=[turn("assistant", example.answer)],
            )  # fmt: skip
            found.append((example.id, messages))
        return app.template.learnable(found, lambda turns: app.template.training(turns, config.finetune.train_on))[0]

    parts = {name: list(part) for name, part in zip(PARTS, parted(app), strict=True)}
    train, validation = (
        [_as_trained(row, config.finetune.method) for row in found]
        for found in (rows("train", mixing.repeats), rows("validation", 1))
    )
    return train, validation, False


def _as_trained(row: Rendered, method: str) -> Rendered:
    """A made-up row of the kind that a method takes, at about the cost of a real one."""
    from ragft.messages import Preferred, Rewarded

    if METHODS[method].rows == "preferences":
        return Preferred(row.ids, row.trained, row)
    return Rewarded(row.ids, row.trained, lambda ids: 0.0) if METHODS[method].rows == "prompts" else row


def _latest(app: Application, folder: str) -> list[Artifact]:
    return list(artifacts_in(app.workspace / folder))


def _proof(app: Application) -> Part:
    """Merging and its proof: by the seconds that an answer took in earlier ones."""
    before = [made for made in _latest(app, "models") if made.figures.get("prompts")]
    if not before:
        return Part("merge and proof", None, "unknown")
    each = before[0].manifest["seconds"] / before[0].figures["prompts"]
    return Part("merge and proof", each * app.config.merge.prompts, "earlier")


def _evaluation(app: Application) -> Part:
    """Answers of all setups to all questions: by the seconds that an answer of the setup took before."""
    each: dict[str, float] = {}
    for made in _latest(app, "records"):
        # The suites keep what they asked there, too, which is of no setup.
        if (setup := made.manifest["inputs"].get("setup")) and made.figures.get("questions"):
            each.setdefault(setup, made.manifest["seconds"] / made.figures["questions"])
    if not set(app.config.evaluate.setups) <= set(each):
        return Part("evaluation", None, "unknown")
    total = sum(
        each[name] * (len(app.questions) + len(tried(app, SETUPS[name])) * len(app.held_out))
        for name in app.config.evaluate.setups
    )
    return Part("evaluation", total, "earlier")


def _shorter(app: Application, training: float) -> tuple[str, ...]:
    """Settings that would shorten a long training, the shortest way to say each."""
    if training <= _LONG_SECONDS:
        return ()
    config = app.config
    found = [f"recipe={name}" for name in config.recipes if name != config.recipe]
    if config.data.mix.repeats > 1:
        found.append(f"data.mix.repeats={config.data.mix.repeats - 1}")
    if config.data.mix.passages > 1 and config.data.mix.fewest_passages is None:
        found.append("data.mix.fewest_passages=1")
    found.append(f"finetune.epochs={config.finetune.epochs / 2:g}")
    return tuple(found)
