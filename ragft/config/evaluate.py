"""`evaluate`: which setups are compared, and how certain the comparison is."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from ragft.config.bias import BiasSection
from ragft.config.cost import CostSection
from ragft.config.judge import JudgeSection
from ragft.config.prompt import PromptVariant
from ragft.config.section import FilePath, Section, SetupName, Share, one_of
from ragft.finetune.track import TRACKERS
from ragft.setups import SETUPS

OWN_MODELS = ("base", "tuned")
_LOCAL = re.compile(r"http://(?:localhost|127\.0\.0\.1|\[::1\])(?::\d+)?(?:/|\Z)")


class ArmSection(PromptVariant):
    """A setup beside the four."""

    model: str = Field(
        "base",
        min_length=1,
        description="What answers: `base`, `tuned`, another model as `model.base` names one, or with `url` the name "
        "there.",
    )
    url: str | None = Field(
        None, pattern=r"^https?://", description="Address of an OpenAI-compatible server, up to `/v1`. Unset: here."
    )
    key_variable: str | None = Field(
        None, description="Environment variable that holds the key of the server. Unset: it needs none."
    )
    passages: Literal["none", "retrieved", "gold"] = Field(
        "none", description="What the model sees: nothing, what retrieval finds, or the sources of the question."
    )

    @model_validator(mode="after")
    def _keeps_its_key(self) -> ArmSection:
        if self.key_variable is None:
            return self
        if self.url is None:
            raise ValueError("names a key_variable but no url that the key is for")
        if self.url.startswith("http:") and not _LOCAL.match(self.url):
            raise ValueError("would send its key unencrypted: begin the url with https")
        return self


def _beside_the_four(arms: dict[str, ArmSection]) -> dict[str, ArmSection]:
    for name in arms:
        if name in SETUPS:
            raise ValueError(f"{name!r} is one of the four setups: give the arm another name")
        if re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name) is None:
            raise ValueError(f"{name!r} is no name of an arm: use lower case letters, digits, - _ .")
    return arms


def _to_choose_from(variants: tuple[PromptVariant, ...]) -> tuple[PromptVariant, ...]:
    if len(variants) == 1:
        raise ValueError("names one prompt, which is no choice: name several, or set prompt.untuned")
    if repeated := [variant.title for place, variant in enumerate(variants) if variant in variants[:place]]:
        raise ValueError(f"names {repeated[0]} twice")
    return variants


class GeneralSection(Section):
    """Whether tuning costs general ability, for `ragft evaluate --suite forgetting`."""

    files: tuple[FilePath, ...] = Field(
        (),
        description="JSONL files of questions that have nothing to do with the domain, each a task: multiple choice.",
    )
    limit: int | None = Field(
        None, ge=1, description="Asks a seeded sample of so many questions of each file. Unset: all of them."
    )
    max_tokens: int = Field(512, ge=1, description="Longest answer to an instruction, in tokens.")
    margin: Share = Field(0.02, description="Largest loss of general ability that is accepted, as a share.")


class EvaluateSection(Section):
    """Which setups are compared, and how certain the comparison is."""

    setups: tuple[SetupName, ...] = Field(tuple(SETUPS), description="Setups to compare.")  # type: ignore[arg-type]
    arms: Annotated[dict[str, ArmSection], AfterValidator(_beside_the_four)] = Field(
        {},
        description="Further setups to compare with those, by name; each has the keys `model`, `url`, `key_variable`, "
        "`passages`, `prompt` and `shots`.",
    )
    prompts: Annotated[tuple[PromptVariant, ...], AfterValidator(_to_choose_from)] = Field(
        (),
        description="Prompts that setups without tuning choose from, each with `prompt` and `shots`, on questions that "
        "are then not compared on. Empty: no choice, `prompt.untuned` holds.",
    )
    choose_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="Share of the questions that prompts are chosen on; none of their documents is in the rest."
    )
    limit: int | None = Field(
        None, ge=1, description="Evaluates a seeded sample of so many questions. Unset: all of them."
    )
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (),
        description="Seeds that `ragft evaluate --suite seeds` trains the recipe anew with, beside `seed`: two or more "
        "tell how far trainings differ.",
    )
    resamples: int = Field(10_000, ge=200, description="Permutations of tests that are not exact.")
    max_failed: Share = Field(
        0.01, description="Largest share of the answers of a setup that may fail before the run is refused."
    )
    decides: str = Field(
        "exact_match",
        min_length=1,
        description="The metric that decides on facts, such as `token_f1` for free text: a share with a direction, "
        "also one of your own.",
    )
    metrics: tuple[str, ...] = Field((), description="Metrics to compute beside the usual ones, by name.")
    metrics_file: FilePath | None = Field(
        None, description="Python file that registers metrics of your own with `@metric`; it is executed."
    )
    labels: tuple[str, ...] | None = Field(
        None, description="Access labels of the caller that the evaluation stands for. Unset: may see everything."
    )
    tracker: Annotated[str, one_of(TRACKERS)] = Field(
        "none",
        description="Where figures and verdict go besides the report, in the folder tracking/ of the workspace. "
        f"{'; '.join(f'{name}: {one.title}' for name, one in TRACKERS.items())}.",
    )
    track_answers: bool = Field(
        False,
        description="Give the tracker the whole report, which quotes questions, answers and passages, instead of one "
        "without them.",
    )
    conversations: FilePath | None = Field(
        None,
        description="JSONL of follow-ups, questions with a `history`, for `ragft evaluate --suite conversation`. "
        "Unset: those among `data.questions`.",
    )
    general: GeneralSection = GeneralSection()
    bias: BiasSection = BiasSection()
    judge: JudgeSection = JudgeSection()
    cost: CostSection = CostSection()
