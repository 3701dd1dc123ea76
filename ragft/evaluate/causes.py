"""The causes of wrong answers: a list, of which the first entry that applies is taken.

It follows the way of an answer, from the question over the index, the search and the model to its form, so that the
earliest fault is named. The arms are the evidence: what the model says without passages tells what it has from memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from ragft.data.answers import SHORT, holds, is_figure, run_of
from ragft.evaluate.metrics.citations import sources_among
from ragft.evaluate.metrics.reading import plain, sentences_of
from ragft.evaluate.records import Record
from ragft.evaluate.wrong import Wrong, is_unrecorded, retrieves
from ragft.setups import SETUPS
from ragft.tokens import contains_tokens

_LOOP = re.compile(r"(.{1,120}?)\1{3,}.{0,120}\Z", re.DOTALL)


@dataclass(frozen=True)
class Cause:
    """One kind of fault.

    Attributes:
        title: as it stands in a list of causes.
        mend: what would mend it in a tuned setup.
        untuned: what would mend it in a setup of the base model; empty: the same.
        spent: the key that `mend` begins with, and the value beyond which it cannot go.
        otherwise: what would mend it where that key has this value.
        tell: says why it applies to an answer; None where it does not.
    """

    name: str
    title: str
    mend: str
    tell: Callable[[Wrong], str | None]
    untuned: str = ""
    spent: tuple[str, float] | None = None
    otherwise: str = ""

    def advice(self, *, is_tuned: bool, setting: Callable[[str], Any]) -> str:
        """What would mend it in a setup, as far as what `setting` says of a key leaves room for it."""
        if not is_tuned and self.untuned:
            return self.untuned
        is_spent = self.spent is not None and setting(self.spent[0]) == self.spent[1]
        return self.otherwise if is_spent else self.mend


def _failed(wrong: Wrong) -> str | None:
    return f"There is no answer: {wrong.said.fault}" if wrong.said.fault else None


def _doubtful(wrong: Wrong) -> str | None:
    """Several setups agree on another answer, the source holds it, and nobody is right.

    Two are enough where the source holds none of the gold answers; else they may have read the same wrong line, so at
    least three must agree, and all that answered.
    """
    asked, claim = wrong.asked, wrong.claim
    if not asked.can_look_up(claim) or any(said.right for said in asked.said.values()):
        return None
    if any(run_of(stale) == claim for stale in asked.question.stale_answers):
        return None
    claims = {setup: found for setup, said in asked.said.items() if (found := asked.claim(said))}
    agreeing = [setup for setup, found in claims.items() if found == claim]
    source = [text for texts in asked.sources for text in texts] or list(_from_source(wrong))
    if len(agreeing) < 2 or not any(holds(text, claim) for text in source):
        return None
    is_gold_held = not asked.golds or any(holds(text, gold) for text in source for gold in asked.golds)
    if is_gold_held and (len(agreeing) < 3 or len(agreeing) < len(claims)):
        return None
    beside = "" if is_gold_held else ", which does not hold the gold answer"
    return f'{", ".join(agreeing)} agree on "{" ".join(claim)}", which stands in the source{beside}.'


def _from_source(wrong: Wrong) -> Iterable[str]:
    """The passages shown to any setup that are of the question's sources; all of them where it names none."""
    for said in wrong.asked.said.values():
        for passage in said.record.passages:
            if not wrong.question.sources or sources_among(wrong.question, [passage]):
                yield passage.text


def _should_refuse(wrong: Wrong) -> str | None:
    if wrong.question.answerable:
        return None
    return "The documents hold no answer, and it gave one instead of the refusal."


def _form(wrong: Wrong) -> str | None:
    """The right fact is in the answer, and no other one that it might be: another choice, another figure that was asked
    about. Where the house format has a value, the value is what was answered.
    """
    asked, run = wrong.asked, run_of(wrong.record.answer)
    if not wrong.said.contains or wrong.refused:
        return None
    if not asked.golds:
        golds = {run_of(answer) for answer in wrong.question.answers}
        figures = {(word,) for word in run_of(wrong.question.question) if is_figure(word)}
        others = (asked.choices | (figures if golds & figures else set())) - golds
        has_value = asked.rules.value is not None and asked.rules.value.search(wrong.record.answer)
        if has_value or any(contains_tokens(run, other) for other in others):
            return None
    return "The right answer is in it, but not where the house format has it, or with other words around it."


def _not_indexed(wrong: Wrong) -> str | None:
    if not wrong.retrieves:
        return None
    if wrong.asked.absent:
        return f"The index does not hold {', '.join(wrong.asked.absent)}."
    stale = [run_of(answer) for answer in wrong.question.stale_answers]
    texts = [text for texts in wrong.asked.sources for text in texts]
    golds = wrong.asked.golds
    if any(holds(text, run) for text in texts for run in stale if wrong.asked.can_look_up(run)) and not any(
        holds(text, gold) for text in texts for gold in golds
    ):
        return "The index holds what was right before the documents changed, not what is right now."
    return None


def _not_retrieved(wrong: Wrong) -> str | None:
    if not wrong.retrieves:
        return None
    asked, passages = wrong.asked, wrong.record.passages
    dropped = wrong.record.passages_dropped
    beside = f", and {dropped} that were found had no room in the prompt" if dropped else ""
    missing = [source for source in wrong.question.sources if source not in sources_among(wrong.question, passages)]
    if missing:
        return f"{', '.join(missing)} is not among the {len(passages)} passages{beside}."
    if not asked.golds or len(wrong.shown) < len(passages) or any(wrong.where(gold) for gold in asked.golds):
        return None
    in_index = any(holds(text, gold) for texts in asked.sources for text in texts for gold in asked.golds)
    if in_index or not wrong.question.sources:
        where = "another passage of the source does" if in_index else "the question names no source"
        return f"None of the {len(passages)} passages holds the answer; {where}{beside}."
    return None  # it follows from what the source says without standing in it


REPEATS = "repeats itself."


def _cut_off(wrong: Wrong) -> str | None:
    if wrong.record.finish_reason != "length" or _has_concluded(wrong):
        return None
    end = " It repeats itself." if repeats(wrong.record.answer) else ""
    return f"It reached the longest answer allowed before the right fact.{end}"


def _has_concluded(wrong: Wrong) -> bool:
    """Whether an answer had said all before it was cut off: its first sentence makes a choice, or a loop follows it."""
    first, *rest = sentences_of(plain(wrong.record.answer)) or [""]
    claim = wrong.asked.claim(replace(wrong.said, record=replace(wrong.record, answer=first)))
    if not rest or not claim:
        return False
    # A line of a list is no sentence.
    words = [word for word in run_of(first) if not is_figure(word)]
    return claim in wrong.asked.choices or (repeats(wrong.record.answer) and len(words) >= 2)


def repeats(answer: str) -> bool:
    """Whether an answer ends in a loop: the same characters four times, whatever the digits."""
    return _LOOP.search(re.sub(r"\d+", "0", answer[-600:])) is not None


def _refused(wrong: Wrong) -> str | None:
    if not (wrong.refused and wrong.retrieves):
        return None
    if any(wrong.where(gold) for gold in wrong.asked.golds):
        return "It refused, although the passages that it saw hold the answer."
    return "It refused; whether the passages that it saw hold the answer cannot be looked up."


def _memory(wrong: Wrong) -> str | None:
    """It says what the model says without passages, or what was right before, and no passage shown says so."""
    claim, asked = wrong.claim, wrong.asked
    if not wrong.retrieves or not asked.can_look_up(claim) or wrong.where(claim):
        return None
    if any(run_of(stale) == claim for stale in wrong.question.stale_answers):
        return f'"{" ".join(claim)}" was right before the documents changed, and no passage says so.'
    for setup, said in asked.said.items():
        without = not retrieves(said.record) and not is_unrecorded(said.record)
        if without and _same_model(said.record, wrong.record) and asked.claim(said) == claim:
            return f'{setup} says "{" ".join(claim)}" without any passage, and no passage says so.'
    return None


def _same_model(one: Record, other: Record) -> bool:
    if one.model_version or other.model_version:
        return one.model_version == other.model_version
    known = [SETUPS.get(record.setup) for record in (one, other)]
    return None not in known and len({setup.tuned for setup in known if setup}) == 1


def _misread(wrong: Wrong) -> str | None:
    claim = wrong.claim
    if not wrong.retrieves or not claim:
        return None
    said = " ".join(claim)
    if not wrong.asked.can_look_up(claim):
        return f'The passages hold what it takes, and it concluded "{said}".'
    places = wrong.where(claim) or wrong.where(claim[:1] if is_figure(claim[0]) else ())
    if not places:
        slip = any(_is_slip(said, " ".join(gold)) for gold in wrong.asked.golds)
        return f'"{said}" is the right answer but for a slip in copying.' if slip else None
    gold = [number for number in places if sources_among(wrong.question, [wrong.record.passages[number - 1]])]
    told = (
        f"another fact of the right passage [{gold[0]}]" if gold else f"passage [{places[0]}], which is not the source"
    )
    return f'"{said}" is from {told}.'


def _is_slip(said: str, gold: str) -> bool:
    """Whether an answer is a right one with one character changed, lost or added, or its beginning."""
    if len(said) < SHORT:
        return False
    if len(said) == len(gold):
        return sum(a != b for a, b in zip(said, gold, strict=True)) == 1
    shorter, longer = sorted((said, gold), key=len)
    one_more = len(longer) == len(shorter) + 1 and any(
        longer[:at] + longer[at + 1 :] == shorter for at in range(len(longer))
    )
    return one_more or gold.startswith(said)


def _ignored(wrong: Wrong) -> str | None:
    if not wrong.retrieves:
        return None
    unread = "" if len(wrong.shown) == len(wrong.record.passages) else " (The records lack the text of passages.)"
    return f"The answer was among the passages, and what it says stands in none of them.{unread}"


def _unrecorded(wrong: Wrong) -> str | None:
    return "The record does not say which passages it saw." if is_unrecorded(wrong.record) else None


def _unknown(wrong: Wrong) -> str | None:
    return "It sees no passages, and refused." if wrong.refused else "It sees no passages, and does not know the fact."


TUNE = "tune the model (hybrid), or take a larger one"

_TABLE = (
    Cause("failed", "failed", "read the errors in records.jsonl, and run `ragft evaluate` again", _failed),
    Cause(
        "doubtful", "question or gold answer doubtful",
        "read these questions beside their sources, and correct the gold answer or the question", _doubtful,
    ),
    Cause(
        "should-refuse", "should have refused",
        "lower data.mix.gold_share, so that training shows more refusals", _should_refuse,
        f"demand the refusal in prompt.system, or {TUNE}", ("data.mix.gold_share", 0.0),
        "add examples that refuse for reasons of their own (without sources)",
    ),
    Cause(
        "form", "right fact in wrong form",
        "train on more examples of the house format, or widen answer.value", _form,
        f"describe the house format in prompt.system, widen answer.value, or {TUNE}",
    ),
    Cause(
        "not-indexed", "not indexed",
        "add the documents that hold the answers to index.documents.folder, and refresh the index", _not_indexed,
    ),
    Cause(
        "not-retrieved", "not retrieved",
        "raise index.search.top_k, rerank with index.search.reranker, or train the encoder", _not_retrieved,
    ),
    Cause("cut-off", "cut off", "raise engine.max_tokens", _cut_off),
    Cause(
        "refused", "refused though answerable",
        "raise data.mix.gold_share, so that training shows fewer refusals", _refused,
        f"say in prompt.system when to refuse, or {TUNE}", ("data.mix.gold_share", 1.0),
        "remove examples whose answer is the refusal, or add answered ones of these kinds of questions",
    ),
    Cause(
        "memory", "answered from memory against the passage",
        "lower data.mix.closed_book_share, so that training shows more passages", _memory, TUNE,
        ("data.mix.closed_book_share", 0.0), "add examples whose passages say something else than is widely known",
    ),
    Cause(
        "misread", "read or concluded wrongly from the passages",
        "add examples of these kinds of questions, or lower index.search.top_k, so that fewer passages compete",
        _misread, TUNE,
    ),
    Cause(
        "ignored", "retrieved but ignored",
        "train on more rows with passages (data.mix.repeats), or take a larger model", _ignored, TUNE,
    ),
    Cause(
        "unrecorded", "passages not recorded", "write into the records which passages were shown (`passages`)",
        _unrecorded,
    ),
    Cause("unknown", "not known, without passages", "answer with retrieval, as rag-only and hybrid do", _unknown),
)  # fmt: skip
CAUSES: dict[str, Cause] = {cause.name: cause for cause in _TABLE}
"""The decision list: of all causes that apply to a wrong answer, the first one is its cause."""
