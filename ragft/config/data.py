"""`data`: the examples that teach style and format, and the questions that measure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from ragft.config.augment import AugmentSection
from ragft.config.generate import GenerateSection
from ragft.config.section import FilePath, Section, Share

FaultKind = Literal[
    "schema", "empty", "truncated", "form", "duplicate", "near_duplicate", "contradiction", "evaluation",
    "near_evaluation", "source", "no_source", "unsupported", "language", "length", "style", "personal", "toxic",
    "groups", "untidy",
]  # fmt: skip
"""What the audit looks for in each row; `ragft.data.audit.kinds.ABOUT` tells of each."""
PersonalKind = Literal["email", "phone", "card", "iban", "ip", "national_id", "api_key", "name"]


class SplitSection(Section):
    """How examples are split into training and validation."""

    validation_share: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.1, description="Share of the examples, by group, that is used for validation."
    )
    by: Literal["group", "source"] = Field(
        "group",
        description="What stays together besides questions that nearly say the same. `group`: rows with the same "
        "`group`; `source`: those, and rows whose sources are in the same document.",
    )
    stratify: bool = Field(
        False, description="Give each tag its share of the validation, as far as what stays together allows."
    )


class MixSection(Section):
    """How training examples are mixed with passages of the index."""

    passages: int = Field(4, ge=1, description="Passages in a training prompt; as many as `index.search.top_k`.")
    fewest_passages: int | None = Field(
        None,
        ge=1,
        description="Each row with passages holds a random number of them from this to `passages`: rows are shorter, "
        "so training is quicker. Unset: all hold `passages`, or what there is.",
    )
    gold_share: Share = Field(
        0.85, description="Share of the rows with passages whose passages contain the answer; the others refuse."
    )
    closed_book_share: Share = Field(
        0.1, description="Share of all rows that have no passages, as practice for the fine-tuned setup."
    )
    adversarial_share: Share = Field(
        0.0,
        description="Share of the rows with passages in which one of them gives an order, as a document of strangers "
        "may; the answer does not follow it.",
    )
    false_share: Share = Field(
        0.0,
        description="Share of the rows that hold the answer in which one of the other passages is made up: a neighbour "
        "of the one with the answer, with another name and another value, where both can be changed.",
    )
    temperature: float = Field(
        1.0,
        ge=1,
        description="Evens out the tags, each of which counts as a task: of n examples with it, as many rows as "
        "n^(1/temperature) asks for, of the same number in all; a rare one's are used several times. 1: each once.",
    )
    repeats: int = Field(1, ge=1, description="How often each example is used, each time with other passages.")
    undecided: Literal["keep", "drop"] = Field(
        "keep",
        description="What becomes of an example whose answer is found in no passage of its sources: `keep`: any "
        "passage of a source is taken for the one that holds it; `drop`: it is left out.",
    )
    general: FilePath | None = Field(
        None, description="JSONL of general instructions, mixed in against forgetting. Unset: none."
    )
    general_share: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0, description="Share of all rows that come from `general`."
    )


class AuditSection(Section):
    """How `ragft data audit` looks at examples."""

    near_duplicates: Annotated[float, Field(gt=0.5, le=1.0)] = Field(
        0.85,
        description="Share of the words that two questions with one answer have in common at least, to be near "
        "duplicates; a word counts for more the rarer it is.",
    )
    toxic_words: FilePath | None = Field(
        None, description="Further insults to look for, a word or phrase a line. Unset: the built-in list alone."
    )


class CleanSection(Section):
    """What `ragft data clean` changes. It tidies texts and replaces personal data of `data.personal` in any case."""

    drop: tuple[FaultKind, ...] = Field(
        ("schema", "empty", "duplicate", "near_duplicate", "evaluation"),
        description="Faults of a row for which it is left out. Others that the audit finds stay for people to decide.",
    )


class DataSection(Section):
    """The examples that teach style and format, and the questions that measure."""

    examples: FilePath = Field(Path("examples.jsonl"), description="Training examples, one JSON object a line.")
    questions: FilePath = Field(Path("questions.jsonl"), description="Evaluation questions, one JSON object a line.")
    validation: FilePath | None = Field(
        None, description="Examples to validate with, instead of a share of `examples`. Unset: that share."
    )
    documents: FilePath | None = Field(
        None, description="Folder of the documents that the examples were written from. Unset: what the index holds."
    )
    personal: tuple[PersonalKind, ...] = Field(
        tuple(kind for kind in get_args(PersonalKind) if kind != "name"),
        description="Kinds of personal data that `data audit` finds and `data clean` replaces. `name` finds names of "
        "people with Presidio, which ragft[names] brings.",
    )
    audit: AuditSection = AuditSection()
    clean: CleanSection = CleanSection()
    split: SplitSection = SplitSection()
    mix: MixSection = MixSection()
    generate: GenerateSection = GenerateSection()
    augment: AugmentSection = AugmentSection()
