"""Feedback as training examples, with the worse answer as `rejected`, preference pairs, evaluation or golden questions.

Pure functions: they know rows, nothing of files. A question is never on both sides, and never twice on one: what comes
near a question of the other side, or says what one of the same side says, is left out, and its reason is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from ragft.citations import parse_citations, with_citations
from ragft.data import copies
from ragft.data.duplicates import normal
from ragft.data.examples import Example, example_of
from ragft.data.history import spoken
from ragft.data.near import clusters
from ragft.data.questions import Question, question_of
from ragft.errors import UsageError
from ragft.evaluate.metrics.base import Rules
from ragft.evaluate.metrics.form import format_valid
from ragft.evaluate.metrics.reading import value_of
from ragft.evaluate.metrics.refusals import is_refusal
from ragft.feedback.reviewing import reviewed
from ragft.feedback.store import Feedback
from ragft.review.board import Standing

To = Literal["examples", "questions", "pairs", "golden"]
Row = TypeVar("Row", Example, Question)

TAG = "feedback"
WHY = {
    "rejected": "a reviewer rejected it",
    "conflict": "reviewers want different things, and nobody has settled it",
    "undecided": "no reviewer has decided yet",
    "no correction": "nobody has corrected the answer",
    "no question": "the question was not kept (serve.log_questions)",
    "unchanged": "the correction says what the answer says",
    "no worse answer": "there is no answer to the same question that is known to be worse, or better",
    "no source": "neither the correction nor the user says where the answer stands",
    "follow-up": "it is understood behind its earlier turns alone",
    "format": "the correction is not in the house format (answer.format)",
    "invalid": "it makes no valid row",
    "other side": "the question is among the questions, or among the examples, that these must not share",
    "repeated": "the question is there already",
}
"""Why feedback is left out."""


@dataclass(frozen=True)
class LeftOut:
    """A feedback that did not become a row.

    Attributes:
        id: of the feedback.
        why: a key of `WHY`.
        detail: the id of the row that it says the same as, or what is wrong with it; may be empty.
    """

    id: str
    why: str
    detail: str = ""


@dataclass
class Promoted:
    """What became of feedback.

    Attributes:
        rows: lines of the file, in the order in which the feedback came.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """How many were left out for each reason that there was."""
        whys = [one.why for one in self.left_out]
        return {why: whys.count(why) for why in WHY if why in whys}


def decided(
    found: Iterable[Feedback], standings: Mapping[str, Standing], *, reviewed_only: bool
) -> tuple[list[Feedback], list[LeftOut]]:
    """The feedback as its review leaves it, and what the review leaves out.

    Args:
        standings: how each stands, by its id.
        reviewed_only: leave out what nobody has decided; else it counts as it is.
    """
    kept, left_out = list[Feedback](), list[LeftOut]()
    for one in found:
        standing = standings.get(one.id)
        state = standing.state() if standing else "undecided"
        if state in ("reject", "conflict") or (state == "undecided" and reviewed_only):
            left_out.append(LeftOut(one.id, "rejected" if state == "reject" else state))
        else:
            kept.append(reviewed(one, standing) if standing else one)
    return kept, left_out


def to_examples(
    found: Iterable[Feedback], examples: Sequence[Example], questions: Sequence[Question], rules: Rules
) -> Promoted:
    """Training examples: the corrected answer, and the one that was given as `rejected`.

    Args:
        examples: those that there are, in whatever file.
        questions: the evaluation questions.
    """
    made = Promoted()
    candidates = _candidates(found, made, lambda one: _example_row(one, rules), example_of)
    near = dict(copies.copied([example for _, _, example in candidates], questions))
    other_side = {place: found[0].question for place, found in near.items()}
    return _chosen(made, candidates, examples, other_side)


def to_pairs(
    found: Iterable[Feedback], examples: Sequence[Example], questions: Sequence[Question], rules: Rules
) -> Promoted:
    """Preference pairs: the corrected answer and the one that was given, or of two answers to one question the one that
    users call good and the one that they call bad. For the arguments see `to_examples`.
    """
    told = list(found)
    roots = clusters([spoken(one.history, one.question or one.id) for one in told])
    root_of = {one.id: root for root, one in zip(roots, told, strict=True)}
    # Of several answers to one question, the newest good and the newest bad one make a pair.
    in_time = sorted(told, key=lambda one: one.time)
    good, bad = ({root_of[one.id]: one for one in in_time if _is_alone(one, thumb)} for thumb in ("good", "bad"))

    def row_of(one: Feedback) -> dict[str, Any] | str:
        if one.corrected_answer is not None:
            return _example_row(one, rules)
        root = root_of[one.id]
        if good.get(root) is not one or root not in bad:
            return "no worse answer"
        return _pair_row(one, bad[root], rules)

    made = Promoted()
    candidates = _candidates(told, made, row_of, example_of, _why_no_pair)
    near = dict(copies.copied([example for _, _, example in candidates], questions))
    return _chosen(made, candidates, examples, {place: found[0].question for place, found in near.items()})


def to_golden(
    found: Iterable[Feedback], examples: Sequence[Example], golden: Sequence[Question], rules: Rules
) -> Promoted:
    """Golden questions, which a new snapshot of the index must still find the sources of; they are evaluation, so that
    they come near no example.

    Args:
        golden: those that there are.
    """
    made = Promoted()
    candidates = _candidates(found, made, lambda one: _golden_row(one, rules), _golden_of, _why_not_golden)
    places = {question.id: place for place, (_, _, question) in enumerate(candidates)}
    near = copies.trained(examples, [question for _, _, question in candidates])
    return _chosen(made, candidates, golden, {places[one.question]: one.of for one in near})


def to_questions(
    found: Iterable[Feedback], examples: Sequence[Example], questions: Sequence[Question], rules: Rules
) -> Promoted:
    """Evaluation questions; their gold answer is the value of the corrected one, as `answer.value` finds it.

    A correction that refuses makes a question that the documents do not answer. For the arguments see `to_examples`.
    """
    made = Promoted()
    candidates = _candidates(found, made, lambda one: _question_row(one, rules), question_of)
    places = {question.id: place for place, (_, _, question) in enumerate(candidates)}
    near = copies.trained(examples, [question for _, _, question in candidates])
    return _chosen(made, candidates, questions, {places[one.question]: one.of for one in near})


def _candidates(
    found: Iterable[Feedback], made: Promoted, row_of: Callable[[Feedback], dict[str, Any] | str],
    read: Callable[[Mapping[str, Any], str], Row | None], why_not: Callable[[Feedback], str] | None = None,
) -> list[tuple[Feedback, dict[str, Any], Row]]:  # fmt: skip
    """The feedback that makes a row by itself, each with the row and with what that is read as."""
    candidates = []
    for one in found:
        row = (why_not or _why_not)(one) or row_of(one)
        if isinstance(row, str):
            made.left_out.append(LeftOut(one.id, row))
            continue
        try:
            what = read(row, f"feedback {one.id}")
        except UsageError as error:
            made.left_out.append(LeftOut(one.id, "invalid", str(error)))
            continue
        if what is not None:
            candidates.append((one, row, what))
    return candidates


def _chosen(
    made: Promoted, candidates: Sequence[tuple[Feedback, dict[str, Any], Row]], there: Sequence[Row],
    other_side: Mapping[int, str],
) -> Promoted:  # fmt: skip
    """The candidates that say nothing that is said already. Of several that ask the same, the newest counts.

    Args:
        there: rows of the same side.
        other_side: for the place of each candidate that comes near a row of the other side, that row's id.
    """
    free = sorted(
        (place for place in range(len(candidates)) if place not in other_side),
        key=lambda place: candidates[place][0].time, reverse=True,
    )  # fmt: skip
    ids = [one.id for one in there] + [candidates[place][2].id for place in free]
    roots = clusters([one.spoken for one in there] + [candidates[place][2].spoken for place in free])
    # Feedback that was made a row before and edited there: its id stays.
    known = {one.id for one in there}
    said = dict[int, str]()
    for number, place in enumerate(free, start=len(there)):
        if ids[number] in known:
            said[place] = ids[number]
        elif roots[number] != number:
            said[place] = ids[roots[number]]
    for place, (one, row, _) in enumerate(candidates):
        if place in other_side:
            made.left_out.append(LeftOut(one.id, "other side", other_side[place]))
        elif place in said:
            made.left_out.append(LeftOut(one.id, "repeated", said[place]))
        else:
            made.rows.append(row)
    return made


def _why_not(one: Feedback) -> str:
    if one.corrected_answer is None:
        return "no correction"
    if one.question is None or one.answer is None:
        return "no question"
    return "unchanged" if normal(one.corrected_answer) == normal(one.answer) else ""


def _is_alone(one: Feedback, thumb: str) -> bool:
    """Whether it is an answer that somebody calls so, and that nobody has corrected."""
    return one.thumb == thumb and one.corrected_answer is None and bool(one.question and one.answer)


def _why_no_pair(one: Feedback) -> str:
    return "" if _is_alone(one, one.thumb) else _why_not(one)


def _why_not_golden(one: Feedback) -> str:
    if one.question is None:
        return "no question"
    if one.history:
        return "follow-up"
    return "" if _sources(one, _cited(one)) else "no source"


def _golden_row(one: Feedback, rules: Rules) -> dict[str, Any]:
    row = {**_begun(one), "sources": list(dict.fromkeys(_sources(one, _cited(one)))), **_ended(one)}
    corrected = one.corrected_answer
    return {**row, "answers": [value_of(corrected, rules)]} if corrected else row


def _golden_of(row: Mapping[str, Any], where: str) -> Question:
    """A golden question as a question, which needs no answer here."""
    return question_of({**row, "answers": row.get("answers") or row["sources"]}, where)


def _pair_row(good: Feedback, bad: Feedback, rules: Rules) -> dict[str, Any] | str:
    """A good answer with a bad one to the same question, which may cite other passages."""
    places = {
        number: good.passages.index(source) + 1 if source in good.passages else len(good.passages) + number
        for number, source in enumerate(bad.passages, start=1)
    }
    worse = with_citations(bad.answer or "", lambda number: places.get(number, len(good.passages) + number))
    row = _example_row(replace(good, corrected_answer=good.answer, answer=worse), rules)
    return row if isinstance(row, str) else {**row, "origin": f"feedback {good.id} and {bad.id}"}


def _example_row(one: Feedback, rules: Rules) -> dict[str, Any] | str:
    corrected = one.corrected_answer or ""
    if format_valid(corrected, rules) is False:
        return "format"
    cited = _cited(one)
    if one.passages and len(cited) < len(parse_citations(corrected)):
        return "invalid"
    sources = _sources(one, cited)
    # [n] of an example cites the n-th of its sources; here it cites the n-th passage of the prompt.
    places = {number: place for place, number in enumerate(cited, start=1)}
    row = {
        **_begun(one), "answer": with_citations(corrected, lambda number: places.get(number, number)),
        "sources": sources,
        # What the worse answer cites beside them was no source: it keeps a number that none of them has.
        "rejected": with_citations(one.answer or "", lambda number: places.get(number, len(sources) + number)).strip(),
        **_ended(one),
    }  # fmt: skip
    return {name: value for name, value in row.items() if value}


def _question_row(one: Feedback, rules: Rules) -> dict[str, Any]:
    corrected = one.corrected_answer or ""
    if is_refusal(corrected, rules, asked=one.question or ""):
        return {**_begun(one), "answerable": False, **_ended(one)}
    sources = list(dict.fromkeys(_sources(one, _cited(one))))
    row = {**_begun(one), "answers": [value_of(corrected, rules)], "sources": sources, **_ended(one)}
    return {name: value for name, value in row.items() if value}


def _cited(one: Feedback) -> list[int]:
    """The passages of the prompt that the correction cites."""
    return [number for number in parse_citations(one.corrected_answer or "") if 1 <= number <= len(one.passages)]


def _sources(one: Feedback, cited: Sequence[int]) -> list[str]:
    """Where the cited passages stand, in their order, and the right source behind them."""
    sources = [one.passages[number - 1] for number in cited]
    return sources if one.source is None or one.source in sources else [*sources, one.source]


def _begun(one: Feedback) -> dict[str, Any]:
    history = {"history": list(one.history)} if one.history else {}
    return {"id": f"feedback-{one.id}", "question": one.question, **history}


def _ended(one: Feedback) -> dict[str, Any]:
    return {"tags": [TAG], "origin": f"feedback {one.id}"}
