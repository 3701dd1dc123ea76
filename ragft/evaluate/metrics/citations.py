"""Citation metrics: did an answer cite the passages that hold its sources, and do those say what it says?

Precision and recall as in ALCE (Gao et al., 2023), but against the question's declared sources instead of a judge.
"""

from __future__ import annotations

from collections.abc import Sequence

from ragft.citations import parse_citations, without_citations
from ragft.data.answers import HELD, text_of
from ragft.data.questions import Question
from ragft.evaluate.metrics.base import NOT_APPLICABLE, Rules, Score, is_cut_off, metric
from ragft.evaluate.metrics.reading import plain, read, sentences_of
from ragft.evaluate.metrics.refusals import outcome_of
from ragft.evaluate.records import PassageRef, Record
from ragft.tokens import contains_tokens, tokens


def cited_in(record: Record) -> tuple[int, ...]:
    """The passage numbers that an answer cites, as its text is read today; those of the record where it has none."""
    return parse_citations(record.answer) or record.citations


def sources_among(question: Question, passages: Sequence[PassageRef]) -> set[str]:
    """The sources of the question that at least one of the passages belongs to."""
    return {
        source
        for passage in passages
        for path in passage.paths
        for source in question.sources_of(passage.document_id, path, passage.title)
    }


def can_cite(question: Question, record: Record) -> bool:
    """Applies to answerable questions with sources, where there are passages to cite."""
    return question.answerable and bool(record.passages) and bool(question.sources)


@metric("citation_precision", axis="facts", applies=can_cite, version=3)
def citation_precision(question: Question, record: Record, rules: Rules) -> Score:
    """Share of the cited passages that belong to the question's sources.

    Without citations it is 0 where a source was among the passages; where none was, it does not apply.

    >>> tried("citation_precision", "4.2 [1][2]", "4.2", sources=(Source("a.md"),), passages=shown("a.md", "b.md"))
    0.5
    """
    relevant = {number for number, passage in enumerate(record.passages, 1) if sources_among(question, [passage])}
    cited = set(cited_in(record))
    if not cited:
        return Score(0.0, "nothing cited") if relevant else NOT_APPLICABLE
    wrong = sorted(cited - relevant)
    return Score(len(cited & relevant) / len(cited), f"wrong: {wrong}" if wrong else "")


@metric("citation_recall", axis="facts", applies=can_cite, version=3)
def citation_recall(question: Question, record: Record, rules: Rules) -> Score:
    """Share of the retrieved sources that are cited; does not apply where no source was retrieved.

    >>> tried("citation_recall", "4.2 [1-2]", "4.2", sources=(Source("a.md"),), passages=shown("b.md", "a.md"))
    1.0
    """
    retrieved = sources_among(question, record.passages)
    if not retrieved:
        return NOT_APPLICABLE
    numbers = cited_in(record)
    cited = sources_among(question, [passage for at, passage in enumerate(record.passages, 1) if at in numbers])
    missed = sorted(retrieved - cited)
    return Score(len(cited) / len(retrieved), f"not cited: {', '.join(missed)}" if missed else "")


@metric("citation_validity", axis="facts", title="citations that exist", version=2)
def citation_validity(question: Question, record: Record, rules: Rules) -> Score:
    """Share of the cited numbers that name a passage of the prompt; does not apply to an answer that cites nothing.

    >>> tried("citation_validity", "4.2 [1] [7]", "4.2", passages=shown("a.md", "b.md"))
    0.5
    """
    cited = cited_in(record)
    if not cited:
        return NOT_APPLICABLE
    missing = [number for number in cited if not 1 <= number <= len(record.passages)]
    return Score(1 - len(missing) / len(cited), f"no such passage: {missing}" if missing else "")


@metric("citation_support", axis="facts", title="cited sentences that are supported", default=False, version=2)
def citation_support(question: Question, record: Record, rules: Rules) -> Score:
    """Share of the sentences with citations whose cited passages hold what they say, by its words alone.

    A passage must hold all figures of the sentence that the question does not have; a sentence without figures needs
    most of its words there. An answer in which `answer.value` finds a value counts as one sentence. Does not apply
    without citations, to refusals, and to records without the texts of their passages.

    >>> tried("citation_support", "It ends in 2026 [1]. It began in 2019 [1].", "x", passages=shown(("a.md", "2026")))
    0.5
    """
    texts = [passage.text for passage in record.passages]
    if not any(texts) or outcome_of(question, record, rules) in ("refused", "hedged"):
        return NOT_APPLICABLE
    found = read(record.answer, rules, cut_off=is_cut_off(record)).found
    sentences = [plain(record.answer)] if found else sentences_of(plain(record.answer))
    cited = [(sentence, numbers) for sentence in sentences if (numbers := parse_citations(sentence))]
    if not cited:
        return NOT_APPLICABLE
    known = frozenset(tokens(question.question))
    unsupported = [
        sentence.strip()
        for sentence, numbers in cited
        if not _is_held(sentence, [texts[number - 1] for number in numbers if number <= len(texts)], known)
    ]
    return Score(1 - len(unsupported) / len(cited), f"not in what it cites: {unsupported[0]}" if unsupported else "")


def _is_held(sentence: str, passages: Sequence[str], known: frozenset[str]) -> bool:
    said = tokens(without_citations(sentence))
    held = [text_of(passage) for passage in passages]
    everything = frozenset[str]().union(*(text.words for text in held))
    figures = {token for token in said if any(map(str.isdigit, token))} - known
    if figures:
        return figures <= everything
    if any(contains_tokens(text.run, said) for text in held):
        return True
    words = {token for token in text_of(without_citations(sentence)).words - known if len(token) > 1}
    return bool(held) and len(words & everything) >= HELD * len(words)
