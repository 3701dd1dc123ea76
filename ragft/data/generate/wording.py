"""How generated questions are worded and their answers written: templates that a person may edit.

They are a YAML file. Where there is none, one is written that holds the defaults, the house format as `answer.refusal`
shows it, and an entry for each attribute that the documents often state, to be worded by somebody who knows them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError

from ragft.config.answer import AnswerSection
from ragft.config.section import Regex, Section
from ragft.data.generate.facts import Fact
from ragft.data.sources import collapsed
from ragft.errors import UsageError
from ragft.patterns import Bounded

Order = Literal["lower", "higher", "earlier", "later"]

_HOLE = re.compile(r"\{(\w+)\}")
_LISTED = 12
"""Attributes that a new file of templates lists: the most frequent ones."""
_OFTEN = 3
"""Times that an attribute must be stated to be listed there."""
_SAMPLE = {
    "citations": "[1]",
    "subject": "Exampleware 3",
    "attribute": "price",
    "value": "12",
    "statement": "price: 12",
}
_NO_NOUN = re.compile(r"(?:.*[^e]ed|.*\bends?|.*\bstarts?|.*\buntil|.*\bby|.*\bfrom|.*\bsince)$", re.IGNORECASE)
_VERB_FIRST = re.compile(
    r"(?:is|has|are|can|may|does|supports?|includes?|contains?|requires?|allows?)\b", re.IGNORECASE
)


def _with_holes(*known: str) -> AfterValidator:
    def check(text: str) -> str:
        unknown = [name for name in _HOLE.findall(text) if name not in known]
        if unknown:
            raise ValueError(f"has {{{unknown[0]}}}, and may have {', '.join(f'{{{name}}}' for name in known)}")
        return text

    return AfterValidator(check)


Asked = Annotated[str, _with_holes("subject", "attribute")]
Compared = Annotated[str, _with_holes("a", "b", "attribute")]
Dated = Annotated[str, _with_holes("subject", "attribute", "day")]
Written = Annotated[str, _with_holes(*_SAMPLE)]


class OnDay(Section):
    """Questions whether something holds on a day, about an attribute that is a date."""

    asked: tuple[Dated, ...] = Field(min_length=1, description="Questions about a subject and a day.")
    until: bool = Field(
        True, description="It holds up to the date, as support that ends does. False: from the date on, as a release."
    )
    yes: str = Field("yes", min_length=1, description="The answer where it holds.")
    no: str = Field("no", min_length=1, description="The answer where it does not.")


class Attribute(Section):
    """How one attribute is asked about; what is left out is asked as any other is."""

    value: Regex | None = Field(
        None, description="Its first group is what of the stated value is the answer. Unset: all of it."
    )
    skip: bool = Field(False, description="Ask nothing about this attribute.")
    asked: tuple[Asked, ...] = Field((), description="Questions about it.")
    following: tuple[Asked, ...] = Field((), description="Questions about it behind another one on the same subject.")
    compared: dict[Order, tuple[Compared, ...]] = Field({}, description="Questions about two subjects.")
    on_day: OnDay | None = Field(None, description="Questions whether something holds on a day. Unset: none.")


class Wording(Section):
    """All templates. Of several wordings, each question gets one, and the others are its paraphrases."""

    answer: Written = Field(description="An answer in the house format.")
    fact: tuple[Asked, ...] = Field(
        (
            "What is the {attribute} of {subject}?",
            "{subject}: what is the {attribute}?",
            "Please tell me the {attribute} of {subject}.",
            "Which {attribute} does {subject} have?",
        ),
        min_length=1,
        description="Questions about an attribute that is a noun, such as `price`.",
    )
    stated: tuple[Asked, ...] = Field(
        (
            "What do the records say of {subject} under '{attribute}'?",
            "{subject}, {attribute}: what is stated?",
            "Please look up '{attribute}' for {subject}.",
        ),
        min_length=1,
        description="Questions about any other attribute, such as `released`.",
    )
    definition: tuple[Asked, ...] = Field(
        ("What does {subject} mean?", "What is {subject}?", "Please explain {subject} in a sentence."),
        min_length=1,
        description="Questions about a term that is defined.",
    )
    sentence: tuple[Asked, ...] = Field(
        ("What is said about {subject}?", "What should I know about {subject}?"),
        min_length=1,
        description="Questions about a heading with one sentence below it.",
    )
    following: tuple[Asked, ...] = Field(
        ("And the {attribute}?", "What about the {attribute}?"),
        min_length=1,
        description="A question behind another one on the same subject.",
    )
    compared: dict[Order, tuple[Compared, ...]] = Field(
        {
            "earlier": ("Which comes first by '{attribute}': {a} or {b}?",),
            "later": ("Which comes later by '{attribute}': {a} or {b}?",),
            "lower": ("By '{attribute}', which is lower: {a} or {b}?",),
            "higher": ("By '{attribute}', which is higher: {a} or {b}?",),
        },
        description="Questions about two subjects whose values are dates (earlier, later) or numbers (lower, higher).",
    )
    short_winner: bool = Field(
        False, description="Name the winner of a comparison by what tells the two apart: `3.4`, not `Ruby 3.4`."
    )
    worked: bool = Field(
        False, description="Write out how two dates compare, part by part: `years 2028 and 2026 falling`."
    )
    untold: tuple[Annotated[str, _with_holes("subject")], ...] = Field(
        (), description="Questions about a subject that the documents never answer, such as `Who wrote {subject}?`."
    )
    personas: tuple[str, ...] = Field(
        ("a new customer who does not know the terms", "an expert in a hurry", "a polite colleague"),
        min_length=1,
        description="Who asks, for a model that writes questions.",
    )
    attributes: dict[str, Attribute] = Field({}, description="Attributes with a wording of their own, by their name.")

    def of(self, attribute: str) -> Attribute:
        """The entry of an attribute; an empty one where it has none."""
        return self._by_name.get(collapsed(attribute), Attribute())

    @property
    def _by_name(self) -> Mapping[str, Attribute]:
        return {collapsed(name): entry for name, entry in self.attributes.items()}

    def questions(self, fact: Fact) -> tuple[str, ...]:
        """Every wording of the question about a fact."""
        if fact.kind == "faq":
            return (fact.attribute,)
        if not fact.attribute:
            templates = self.definition if fact.kind == "definition" else self.sentence
        else:
            templates = self.of(fact.attribute).asked or (self.fact if is_noun(fact.attribute) else self.stated)
        return tuple(filled(one, subject=fact.subject, attribute=fact.attribute) for one in templates)

    def value(self, fact: Fact) -> str:
        """What of a stated value is the answer; empty where the attribute's expression finds nothing."""
        entry = self.of(fact.attribute) if fact.attribute and fact.kind != "faq" else Attribute()
        if entry.value is None:
            return fact.value
        found = Bounded(entry.value, f"the value of {fact.attribute!r} in data.generate.templates").search(fact.value)
        return str(found[1] if found.re.groups else found[0]).strip() if found else ""

    def answered(self, subject: str, attribute: str, value: str, statement: str, sources: int) -> str:
        """An answer in the house format, which cites all its sources."""
        citations = "".join(f"[{number}]" for number in range(1, sources + 1))
        return filled(
            self.answer, subject=subject, attribute=attribute, value=value, statement=statement, citations=citations
        )


def is_noun(attribute: str) -> bool:
    """Whether `the ATTRIBUTE of` reads well: no participle at its end, no verb at either end."""
    return not _NO_NOUN.match(attribute) and not _VERB_FIRST.match(attribute)


def filled(template: str, **values: str) -> str:
    """A template with its holes filled; what stands in the values is no hole."""
    return _HOLE.sub(lambda hole: values[hole[1]], template)


def read_wording(path: Path) -> Wording:
    """The templates in a file.

    Raises:
        UsageError: it cannot be read, or holds something else; the message names the field.
    """
    try:
        return Wording.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read ({error}): set data.generate.templates to a file of templates."
        ) from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is no YAML ({' '.join(str(error).split())}): correct it, or delete it.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = str(first["msg"]).removeprefix("Value error, ")
        raise UsageError(f"{path}: {where or 'the file'}: {reason}.") from None


def first_wording(answer: AnswerSection, facts: Iterable[Fact]) -> Wording:
    """The defaults for a domain that has no templates yet.

    Raises:
        UsageError: the house format cannot be told from `answer`.
    """
    facts = [fact for fact in facts if fact.attribute and fact.kind != "faq"]
    written = Counter(fact.attribute for fact in facts)
    listed = [name for name, count in written.most_common(_LISTED) if count >= _OFTEN]
    default = Wording(answer=house_answer(answer))
    entries = {name: Attribute(asked=default.fact if is_noun(name) else default.stated) for name in listed}
    return default.model_copy(update={"attributes": entries})


def house_answer(answer: AnswerSection) -> str:
    """The template of an answer: the refusal with its value, its sources and its other lines replaced.

    Raises:
        UsageError: none of what comes of it is in the house format.
    """
    for template in _tried(answer):
        written = filled(template, **_SAMPLE)
        value = Bounded(answer.value, "answer.value").search(written) if answer.value else None
        if answer.value and (value is None or value[1].strip() != _SAMPLE["value"]):
            continue
        if answer.format is None or Bounded(answer.format, "answer.format").fullmatch(written):
            return template
    raise UsageError(
        "The house format of answers cannot be told from answer.refusal, answer.format and answer.value: write a file "
        "of templates with `answer:`, an answer with {value}, {citations}, {statement} and {subject} in place, and "
        "name it in data.generate.templates."
    )


def _tried(answer: AnswerSection) -> Sequence[str]:
    refusal = answer.refusal.strip()
    found = Bounded(answer.value, "answer.value").search(refusal) if answer.value else None
    if found is None:
        return ("{value} {citations}", "{value}", "{citations} {value}")
    text = refusal[: found.start(1)] + "{value}" + refusal[found.end(1) :]
    tried = []
    for cited in ("{citations}", "{citations} {subject}"):
        lines = []
        for line in text.split("\n"):
            label, colon, rest = line.partition(":")
            if "{value}" in line or not (colon and rest.strip()):
                lines.append(line)
            else:
                is_source = re.search(r"sourc|cit|ref|quell|fuente|passage", label, re.IGNORECASE)
                lines.append(f"{label}: {cited if is_source else '{statement}'}")
        tried.append("\n".join(lines))
    return tried


def to_yaml(wording: Wording) -> str:
    """The file of templates, with a sentence for whoever edits it."""
    values: dict[str, Any] = wording.model_dump(mode="json", exclude_defaults=False)
    values["attributes"] = {
        name: {key: value for key, value in entry.items() if value not in (None, False, [], {})}
        for name, entry in values["attributes"].items()
    }
    return _HEAD + yaml.dump(values, Dumper=_Blocks, sort_keys=False, allow_unicode=True, width=120)


_HEAD = """\
# How generated questions are worded and answers written; edit it, and `ragft data generate` makes them anew.
# Questions may have {subject} and {attribute}, comparisons {a}, {b} and {attribute}, and the answer {value},
# {citations}, {statement} (how the document says it), {subject} and {attribute}.
# `untold` are questions with {subject} that no document answers: they teach to refuse.
# `attributes` words single attributes: `asked`, `following`, `compared`, `skip: true`, `value`, a regular
# expression whose first group is what of the stated value is the answer, and, of a date, `on_day`:
# {asked: [Is {subject} still supported on {day}?]}, with `until: false` for what begins at the date.
"""


class _Blocks(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _as_block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Blocks.add_representer(str, _as_block)
