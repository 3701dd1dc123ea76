"""What is wrong with an answer to an example's own question, so that it can stand beside the good one as a worse one.

Only questions of examples are asked for this: no evaluation question, and no answer to one, becomes training data.
"""

from __future__ import annotations

from ragft.citations import in_plain_words, with_citations
from ragft.data.examples import Example
from ragft.data.preferences import Fault, Worse, is_earlier
from ragft.data.questions import Question
from ragft.evaluate.metrics.base import Rules, is_cut_off
from ragft.evaluate.metrics.citations import cited_in, sources_among
from ragft.evaluate.metrics.form import format_valid
from ragft.evaluate.metrics.text import golds_of, outcome_of, value_of
from ragft.evaluate.records import Record


def asked_of(example: Example, rules: Rules) -> Question:
    """An example's question, with its answer's value as the gold answer."""
    golds = golds_of(example.answer, rules, asked=example.question)
    return Question(
        example.id, example.question, golds, example.sources, bool(golds),
        tags=example.tags, group=example.group, history=example.history,
    )  # fmt: skip


def worse_in(example: Example, question: Question, record: Record, rules: Rules) -> Worse | None:
    """The answer of a record as a worse one, its citations numbered as those of the example: by its sources, and from
    there on for all others; None where it is right, or says nothing, as a failed or cut-off answer does.
    """
    if record.error is not None or not record.answer.strip() or is_cut_off(record):
        return None
    fault = _fault(example, question, record, rules)
    if fault is None:
        return None
    text = with_citations(record.answer, lambda number: _number(question, record, number)).strip()
    return None if text == example.answer.strip() else Worse(text, fault, record.setup)


def _fault(example: Example, question: Question, record: Record, rules: Rules) -> Fault | None:
    outcome = outcome_of(question, record, rules)
    if not question.answerable:
        return None if outcome == "refused" else "unrefused"
    if outcome in ("refused", "hedged"):
        return "refused"
    if outcome != "right":
        return "stale" if is_earlier(value_of(record.answer, rules), question.answers[0]) else "value"
    if format_valid(record.answer, rules) is False:
        return "form"
    shown = sources_among(question, record.passages)
    cited = sources_among(question, [one for at, one in enumerate(record.passages, 1) if at in cited_in(record)])
    is_cited = in_plain_words(example.answer) != example.answer
    return "uncited" if is_cited and shown and not cited else None


def _number(question: Question, record: Record, number: int) -> int:
    """The number that an example gives to what a passage of the prompt is from."""
    passage = record.passages[number - 1 : number] if number > 0 else ()
    own = sources_among(question, passage)
    places = [place for place, source in enumerate(question.sources, start=1) if source in own]
    return places[0] if places else len(question.sources) + number
