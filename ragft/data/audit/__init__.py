"""What is wrong with examples and questions, before hours are spent on them."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np

from index.documents.document import Document, Skipped
from index.errors import IndexFault
from ragft.config import Config
from ragft.console import Findings, Reporter, Silent, counted, some
from ragft.data.audit.coverage import Coverage, coverage_findings
from ragft.data.audit.kinds import ABOUT, KINDS, Kind
from ragft.data.audit.scan import Rules, Scan, Tokens, finder
from ragft.data.audit.support import Sections
from ragft.data.copies import Copy, repeated, trained
from ragft.data.examples import Example
from ragft.data.groups import BUILT_IN
from ragft.data.questions import Question, read_questions
from ragft.data.sources import Source
from ragft.data.wording import Mentions, Toxic
from ragft.errors import UsageError
from ragft.patterns import Bounded

AUDIT_VERSION = 2
"""Increased whenever other rows may be found."""

Reading = tuple[list[Document], list[Skipped]]
"""Documents, and what could not be read."""

_TOLD_APART = frozenset({"schema", "evaluation", "near_evaluation", "source", "form", "no_source"})
"""Kinds whose findings hold more than a count."""


class HasData(Protocol):
    """What is audited; `ragft.stages.application.Application` has it."""

    config: Config

    @property
    def documents(self) -> Reading: ...
    @property
    def training_documents(self) -> Reading: ...


@dataclass
class Audit:
    """What an audit found.

    Attributes:
        scan: the rows, with what is wrong with each.
        coverage: where in the documents examples and questions are; None: not looked at.
    """

    findings: Findings
    scan: Scan
    questions: tuple[Question, ...]
    coverage: Coverage | None = None

    def figures(self) -> dict[str, object]:
        """What `--json` prints besides the findings."""
        seen = self.scan.seen
        return {
            "rows": len(self.scan.table),
            "flagged": int(np.count_nonzero(np.frombuffer(self.scan.table.kinds, np.uint32))),
            "kinds": {kind: self.scan.flags.counts[kind] for kind in KINDS},
            "personal": dict(seen.personal),
            "tags": dict(seen.tags.most_common()),
            "languages": dict(seen.languages),
            "groups": {f"{axis}: {group}": count for (axis, group), count in seen.mentions.most_common()},
            "lengths": {name: _quantiles(counts) for name, counts in seen.lengths.items()},
            "coverage": self.coverage.to_json() if self.coverage else None,
        }


def audit_data(data: HasData) -> Findings:
    """Looks at every example and question; reading errors are findings too, so that one run shows them all."""
    with tempfile.TemporaryDirectory(prefix="ragft-audit-") as folder:
        return audit(data, Path(folder)).findings


def audit(
    data: HasData,
    folder: Path,
    *,
    tokens: Tokens | None = None,
    reporter: Reporter | None = None,
    coverage: Callable[[Counter[Source], Sequence[Question]], Coverage | str] | None = None,
) -> Audit:
    """Looks at every row of the examples, and at the questions.

    Args:
        folder: exists, and takes `rows.jsonl`: every row that was flagged, and why.
        tokens: counts tokens of the base model.
        coverage: maps where examples, counted by source, and questions are in the documents; a text says why not.
    """
    config, findings = data.config, Findings()
    questions, told = _questions(config)
    files = [(config.data.examples, "data.examples")]
    if config.data.validation is not None:
        # What holds for an example holds for those that validate; what is asked in both files, `split` refuses.
        files.append((config.data.validation, "data.validation"))
    documents = _reading(findings, lambda: data.training_documents)
    scan = Scan(_rules(config, questions, documents, tokens), folder, files)
    with ExitStack() as stack:
        scan.run(stack.enter_context((reporter or Silent()).progress("Reading rows")))
    _files(findings, scan)
    findings.rows += told.rows
    _overlap(findings, scan, questions)
    _repeated(findings, questions)
    _form(findings, config, scan)
    _without_sources(findings, scan)
    for kind in KINDS:
        if kind not in _TOLD_APART and scan.flags.counts[kind]:
            findings.add(ABOUT[kind].state, ABOUT[kind].title, _told(scan, kind))
    _tags(findings, scan)
    live = config.index.documents.folder
    _sources_of_examples(findings, scan, config.data.documents or live, documents)
    _sources_of_questions(findings, live, lambda: data.documents, questions)
    found = Audit(findings, scan, questions)
    if coverage is not None:
        mapped = coverage(scan.seen.sources, questions)
        found.coverage = None if isinstance(mapped, str) else mapped
        coverage_findings(findings, mapped)
    return found


def _rules(
    config: Config, questions: Sequence[Question], documents: Callable[[], Sections | None], tokens: Tokens | None
) -> Rules:
    answer = config.answer
    return Rules(
        format=Bounded(answer.format, "answer.format") if answer.format is not None else None,
        value=Bounded(answer.value, "answer.value") if answer.value is not None else None,
        refusal=answer.refusal.strip(),
        personal=frozenset(config.data.personal),
        find=finder(config.data.personal),
        toxic=Toxic(config.data.audit.toxic_words),
        mentions=Mentions(config.evaluate.bias.groups or BUILT_IN),
        questions=questions,
        sections=documents,
        tokens=tokens,
        longest=config.finetune.max_seq_length,
        near=config.data.audit.near_duplicates,
    )  # fmt: skip


def _questions(config: Config) -> tuple[tuple[Question, ...], Findings]:
    told = Findings()
    try:
        questions = read_questions(config.data.questions)
    except UsageError as error:
        told.add("error", "questions", str(error))
        return (), told
    unanswerable = sum(not question.answerable for question in questions)
    behind = sum(any(turn["role"] == "user" for turn in one.history) for one in questions)
    told.add("ok", "questions", f"{len(questions)}, {unanswerable} of them unanswerable{_behind(behind)}")
    return questions, told


def _behind(count: int) -> str:
    return f", {count} of them behind earlier turns" if count else ""


def _reading(findings: Findings, read: Callable[[], Reading]) -> Callable[[], Sections | None]:
    """The documents of the examples, read when the first source is asked for."""

    @cache
    def sections() -> Sections | None:
        try:
            documents, skipped = read()
        except IndexFault as error:
            findings.add("error", "documents", str(error))
            return None
        for skip in skipped:
            findings.add("warning", "documents", f"{skip.path} is skipped: {skip.reason}")
        return Sections(documents)

    return sections


def _files(findings: Findings, scan: Scan) -> None:
    """A finding for each file: how many examples, or what cannot be read."""
    table, seen = scan.table, scan.seen
    files, groups = np.frombuffer(table.file, np.uint8), np.frombuffer(table.group, np.uint64)
    read = np.frombuffer(table.is_read, np.uint8) > 0
    for number, (path, key) in enumerate(scan.files):
        what = key.rpartition(".")[2]
        if error := seen.first_error.get(number):
            faults = sum(int((files[scan.table.rows_of(kind)] == number).sum()) for kind in ("schema", "empty"))
            more = f" {faults - 1} more of its lines cannot be read either." if faults > 1 else ""
            findings.add("error", what, error + more)
            continue
        behind = _behind(seen.behind_turns[number])
        if what == "validation":
            findings.add("ok", what, f"{seen.read[number]} examples, from {path}")
        else:
            count = len(np.unique(groups[read & (files == number)]))
            findings.add("ok", what, f"{seen.read[number]} in {count} groups{behind}, from {path}")
        if seen.left_out[number]:
            findings.add("note", what, f"{seen.left_out[number]} with weight 0 are left out")
    if seen.unread:
        named = ", ".join(f"{name} ({count})" for name, count in sorted(seen.unread.items())[:20])
        findings.add("note", "fields", f"not read: {named}")


def _told(scan: Scan, kind: Kind) -> str:
    """How many rows have a fault, and which are the first."""
    rows = counted(scan.flags.counts[kind], "row")
    names = []
    for flag in scan.flags.shown[kind][:3]:
        name = scan.flags.ids.get(flag.row) or f"line {scan.table.line[flag.row]}"
        of = scan.flags.ids.get(flag.of) if flag.of >= 0 else ""
        detail = flag.detail if kind not in ("duplicate", "contradiction") else ""
        link = f"of {of}" if kind in ("duplicate", "near_duplicate") else f"against {of}"
        remark = ", ".join(part for part in (link if of else "", detail) if part)
        names.append(f"{name} ({remark})" if remark else name)
    more = scan.flags.counts[kind] - len(names)
    listed = ", ".join(names) + (f" and {more} more" if more else "")
    return f"{ABOUT[kind].told.format(rows=rows)}: {listed}"


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


def _overlap(findings: Findings, scan: Scan, questions: Sequence[Question]) -> None:
    copies = [copy for one in questions if (copy := scan.seen.overlap.get(one.id))]
    leaks = [copy for copy in copies if copy.is_leak]
    near = [copy for copy in copies if not copy.is_leak]
    if leaks:
        found = some(f"question {copy.question} is example {copy.of}{copy.remark}" for copy in leaks)
        findings.add("error", "overlap", f"{counted(len(leaks), 'question')} found among the examples: {found}")
    elif scan.seen.read and questions:
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


def _form(findings: Findings, config: Config, scan: Scan) -> None:
    pattern = scan.rules.format
    if pattern is None or not scan.seen.read:
        if scan.seen.read:
            findings.add("note", "form", "answer.format is not set, so form is not scored")
        return
    # As the metric does: the whole answer, or the refusal word for word.
    if wrong := scan.flags.counts["form"]:
        names = [scan.flags.ids[flag.row] for flag in scan.flags.shown["form"]]
        more = f" and {wrong - 3} more" if wrong > 3 else ""
        told = f"{wrong} answers are not in the house format: {', '.join(names[:3])}{more}"
        findings.add("error", "form", told)
    else:
        findings.add("ok", "form", "every answer is in the house format")
    if pattern.fullmatch(config.answer.refusal.strip()) is None:
        findings.add("error", "refusal", "answer.refusal is not in the house format itself")


def _without_sources(findings: Findings, scan: Scan) -> None:
    """Answers that passages do not support, where those of other examples are cited: they teach to answer anyway."""
    without = scan.flags.counts["no_source"]
    if without:
        names = [scan.flags.ids[flag.row] for flag in scan.flags.shown["no_source"]]
        more = f" and {without - 3} more" if without > 3 else ""
        findings.add(
            "warning",
            "examples without sources",
            f"{without} of {sum(scan.seen.read.values())} answer and name no `sources`, so that they are trained "
            f"beside passages without the answer: {', '.join(names[:3])}{more}",
        )


def _tags(findings: Findings, scan: Scan) -> None:
    """How examples divide among their tags; a warning where some are hardly there."""
    seen = scan.seen
    if not seen.tags:
        return
    (most, largest), *_ = seen.tags.most_common(1)
    scarce = [f"{tag} ({count})" for tag, count in seen.tags.items() if count * _SCARCE < largest]
    told = f"{counted(len(seen.tags), 'tag')}, the most frequent is {most} ({largest})"
    if seen.untagged:
        told += f"; {counted(seen.untagged, 'example')} without tags"
    if scarce:
        told += f"; hardly there, with less than a {_SCARCE}th of that: {some(scarce)}"
    findings.add("note", "tags", told)


_SCARCE = 20


def _sources_of_examples(
    findings: Findings, scan: Scan, folder: Path, documents: Callable[[], Sections | None]
) -> None:
    if not scan.seen.sources or documents() is None:
        return
    _unclear(findings, "examples", scan.seen.unclear)
    if scan.seen.missing:
        named = scan.seen.bad_sources["missing"]
        more = f" and {scan.seen.missing - len(named)} more" if scan.seen.missing > len(named) else ""
        told = f"{scan.seen.missing} are not in {folder}: {', '.join(named)}{more}"
        findings.add("error", "sources of examples", told)
    else:
        findings.add("ok", "sources of examples", f"all in {folder}")


def _unclear(findings: Findings, what: str, unclear: dict[Source, str]) -> None:
    if unclear:
        told = some(f"{source} {fault}" for source, fault in unclear.items())
        findings.add("error", f"ambiguous sources of {what}", f"{counted(len(unclear), 'source')}: {told}")


def _sources_of_questions(
    findings: Findings, folder: Path, read: Callable[[], Reading], questions: Sequence[Question]
) -> None:
    named = [(question.id, source) for question in questions for source in question.sources]
    if not named:
        return
    known = {row.detail for row in findings.rows}
    own = Findings()
    sections = _reading(own, read)()
    # The documents of the examples are mostly the same, and were told already.
    findings.rows += [row for row in own.rows if row.detail not in known]
    if sections is None:
        return
    faults = {source: sections.fault(source) for _, source in named}
    _unclear(findings, "questions", {source: fault for source, fault in faults.items() if fault not in ("", "missing")})
    missing = [f"{name} ({source})" for name, source in named if faults[source] == "missing"]
    if missing:
        findings.add("error", "sources of questions", f"{len(missing)} are not in {folder}: {some(missing)}")
    else:
        findings.add("ok", "sources of questions", f"all in {folder}")


def _quantiles(counts: Counter[int]) -> dict[str, int]:
    """Smallest, quartiles and largest of counted lengths."""
    lengths = np.array(sorted(counts), dtype=np.int64)
    if not len(lengths):
        return {}
    reached = np.cumsum([counts[length] for length in lengths.tolist()])
    at = {"least": 0.0, "q1": 0.25, "median": 0.5, "q3": 0.75, "p99": 0.99, "most": 1.0}
    return {name: int(lengths[np.searchsorted(reached, share * reached[-1])]) for name, share in at.items()}
