"""What is wrong with examples and questions, before hours are spent on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from index.documents.document import Document, Skipped
from index.documents.sections import sections
from index.errors import IndexFault
from ragft.config import Config
from ragft.console import Findings, counted, some
from ragft.data.copies import Copy, repeated, trained
from ragft.data.duplicates import normal
from ragft.data.examples import Example, read_examples
from ragft.data.gold import ambiguous
from ragft.data.questions import Question, read_questions
from ragft.data.sources import Source
from ragft.errors import UsageError
from ragft.patterns import Bounded

Reading = tuple[list[Document], list[Skipped]]
"""Documents, and what could not be read."""


class HasData(Protocol):
    """What is audited; `ragft.stages.application.Application` has it."""

    config: Config

    @property
    def examples(self) -> tuple[Example, ...]: ...
    @property
    def documents(self) -> Reading: ...
    @property
    def training_documents(self) -> Reading: ...


def audit_data(data: HasData) -> Findings:
    """Looks at every example and question; reading errors are findings too, so that one run shows them all."""
    config = data.config
    findings = Findings()
    examples: tuple[Example, ...] = ()
    questions: tuple[Question, ...] = ()
    try:
        examples = data.examples
        groups = len({example.group for example in examples})
        told = f"{len(examples)} in {groups} groups{_behind(examples)}, from {config.data.examples}"
        findings.add("ok", "examples", told)
    except UsageError as error:
        findings.add("error", "examples", str(error))
    try:
        questions = read_questions(config.data.questions)
        unanswerable = sum(not question.answerable for question in questions)
        told = f"{len(questions)}, {unanswerable} of them unanswerable{_behind(questions)}"
        findings.add("ok", "questions", told)
    except UsageError as error:
        findings.add("error", "questions", str(error))
    if config.data.validation is not None:
        try:
            held_out = read_examples(config.data.validation, "data.validation")
            findings.add("ok", "validation", f"{len(held_out)} examples, from {config.data.validation}")
            # What holds for an example holds for those that validate; what is asked in both files, `split` refuses.
            examples += held_out
        except UsageError as error:
            findings.add("error", "validation", str(error))
    _overlap(findings, examples, questions)
    _repeated(findings, questions)
    _duplicates(findings, examples)
    _form(findings, config, examples)
    _without_sources(findings, config, examples)
    live = config.index.documents.folder
    of_examples, of_questions = [(e.id, e.sources) for e in examples], [(q.id, q.sources) for q in questions]
    _sources(findings, config.data.documents or live, lambda: data.training_documents, "examples", of_examples)
    _sources(findings, live, lambda: data.documents, "questions", of_questions)
    return findings


def _behind(asked: Sequence[Example] | Sequence[Question]) -> str:
    count = sum(any(turn["role"] == "user" for turn in one.history) for one in asked)
    return f", {count} of them behind earlier turns" if count else ""


def refuse_overlap(examples: Iterable[Example], questions: Iterable[Question]) -> list[str]:
    """Refuses questions that are also examples: an answer that was trained measures nothing.

    Returns:
        What should be known of questions that come near an example with another answer; a sentence, or none.

    Raises:
        UsageError: the message counts them and names the first ones.
    """
    copies = trained(examples, questions)
    leaks = [copy for copy in copies if copy.is_leak]
    if leaks:
        raise UsageError(
            f"Evaluation questions are also training examples ({len(leaks)} in all; the first: "
            f"{_pairs(leaks, 'example')}): remove them from one of the two files."
        )
    told = f"{counted(len(copies), 'question')} nearly asked in training, with another answer, which is not refused"
    return [f"{told}: {_pairs(copies, 'example')}."] if copies else []


def refuse_repeated(questions: Iterable[Question]) -> None:
    """Refuses one question under two ids, which would count twice.

    Raises:
        UsageError: the message counts them and names the first ones.
    """
    same = [copy for copy in repeated(questions) if copy.kind == "same"]
    if same:
        raise UsageError(
            f"Evaluation questions are asked under two ids ({len(same)} in all; the first: "
            f"{_pairs(same, 'question')}): remove one of each pair."
        )


def _pairs(copies: Sequence[Copy], what: str) -> str:
    return ", ".join(f"question {one.question!r} is {what} {one.of!r}{one.remark}" for one in copies[:3])


def _overlap(findings: Findings, examples: Sequence[Example], questions: Sequence[Question]) -> None:
    copies = trained(examples, questions)
    leaks = [copy for copy in copies if copy.is_leak]
    near = [copy for copy in copies if not copy.is_leak]
    if leaks:
        found = some(f"question {copy.question} is example {copy.of}{copy.remark}" for copy in leaks)
        findings.add("error", "overlap", f"{counted(len(leaks), 'question')} found among the examples: {found}")
    elif examples and questions:
        findings.add("ok", "overlap", "no question is also an example")
    if near:
        found = some(f"question {copy.question} is example {copy.of}{copy.remark}" for copy in near)
        told = f"{counted(len(near), 'question')} nearly found among the examples, with another answer: {found}"
        findings.add("warning", "near copies", told)


def _repeated(findings: Findings, questions: Sequence[Question]) -> None:
    copies = [copy for copy in repeated(questions) if copy.is_leak]
    same, near = ([one for one in copies if (one.kind == "same") is wanted] for wanted in (True, False))
    if same:
        findings.add("error", "repeated questions", _asked_twice(same))
    if near:
        findings.add("warning", "nearly repeated questions", _asked_twice(near))


def _asked_twice(copies: Sequence[Copy]) -> str:
    pairs = some(f"question {copy.question} is question {copy.of}{copy.remark}" for copy in copies)
    return f"{counted(len(copies), 'question')} asked twice: {pairs}"


def _duplicates(findings: Findings, examples: Sequence[Example]) -> None:
    answers: dict[str, set[str]] = {}
    for example in examples:
        answers.setdefault(normal(example.spoken), set()).add(example.answer)
    times = Counter(normal(example.spoken) for example in examples)
    repeated = [text for text, count in times.items() if count > 1]
    if repeated:
        told = f"{counted(len(repeated), 'question')} found in several examples: {some(repeated)}"
        findings.add("warning", "duplicates", told)
    contradictory = [text for text in repeated if len(answers[text]) > 1]
    if contradictory:
        findings.add("warning", "contradictions", f"{len(contradictory)} of them with other answers")


def _form(findings: Findings, config: Config, examples: Sequence[Example]) -> None:
    if config.answer.format is None or not examples:
        if examples:
            findings.add("note", "form", "answer.format is not set, so form is not scored")
        return
    # As the metric does: the whole answer, or the refusal word for word.
    refusal = config.answer.refusal.strip()
    answers = {example.id: example.answer.strip() for example in examples}
    pattern = Bounded(config.answer.format, "answer.format")
    wrong = [name for name, text in answers.items() if text != refusal and pattern.fullmatch(text) is None]
    if wrong:
        findings.add("error", "form", f"{len(wrong)} answers are not in the house format: {some(wrong)}")
    else:
        findings.add("ok", "form", "every answer is in the house format")
    if pattern.fullmatch(refusal) is None:
        findings.add("error", "refusal", "answer.refusal is not in the house format itself")


def _without_sources(findings: Findings, config: Config, examples: Sequence[Example]) -> None:
    """Answers that passages do not support, where those of other examples are cited: they teach to answer anyway."""
    refusal = config.answer.refusal.strip()
    without = [one.id for one in examples if not one.sources and one.answer.strip() != refusal]
    if without and any(one.sources for one in examples):
        findings.add(
            "warning",
            "examples without sources",
            f"{len(without)} of {len(examples)} answer and name no `sources`, so that they are trained beside passages "
            f"without the answer: {some(without)}",
        )


def _sources(
    findings: Findings, folder: Path, read: Callable[[], Reading], what: str,
    rows: Iterable[tuple[str, Sequence[Source]]],
) -> None:  # fmt: skip
    rows = [(identity, sources) for identity, sources in rows if sources]
    if not rows:
        return
    try:
        documents, skipped = read()
    except IndexFault as error:
        findings.add("error", "documents", str(error))
        return
    for skip in skipped:
        findings.add("warning", "documents", f"{skip.path} is skipped: {skip.reason}")
    known = {document.id: document for document in documents}
    places = {
        source: [
            (document.id, section.path, document.title)
            for document in map(known.get, source.documents)
            if document is not None
            for section in sections(document)
            if source.matches(document.id, section.path, document.title)
        ]
        for source in dict.fromkeys(source for _, named in rows for source in named)
    }
    missing = [f"{name} ({source})" for name, named in rows for source in named if not places[source]]
    unclear = {source: found for source, at in places.items() if (found := ambiguous(source, at))}
    if unclear:
        told = some(f"{source} may mean {' or '.join(found)}" for source, found in unclear.items())
        findings.add("error", f"ambiguous sources of {what}", f"{counted(len(unclear), 'source')}: {told}")
    if missing:
        findings.add("error", f"sources of {what}", f"{len(missing)} are not in {folder}: {some(missing)}")
    else:
        findings.add("ok", f"sources of {what}", f"all in {folder}")
