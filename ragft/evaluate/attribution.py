"""Why answers are wrong: each wrong answer gets one cause, and each setup a summary that says what to mend first.

A cause is decided by a list (`CAUSES`), whose first entry that applies is taken; it follows the way of an answer, so
that the earliest fault is named. It looks at what all setups said to the same question, so the other arms are the
evidence: what the model says without passages tells what it has from memory. Pure functions over questions, records and
rows of scores; nothing here is random.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ragft.data.answers import text_of
from ragft.data.gold import Located
from ragft.data.questions import Question
from ragft.evaluate.metrics import Rules
from ragft.evaluate.metrics.citations import sources_among
from ragft.evaluate.metrics.text import is_refusal, value_of
from ragft.evaluate.records import Record
from ragft.setups import SETUPS
from ragft.tokens import contains_tokens

ATTRIBUTION_VERSION = 1
"""Increased whenever the same records may get another cause."""

CHOICE = 0.1
"""Share of the answerable questions whose gold answer makes it a choice, as yes and no are: such a word stands in
passages by chance, and two setups say the same by chance. Of words of at most `_SHORT` letters, two are enough."""

_SHORT = 4
_LOOP = re.compile(r"(.{1,120}?)\1{3,}.{0,120}\Z", re.DOTALL)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """Why one answer is wrong.

    Attributes:
        cause: a name in `CAUSES`.
        why: what it was told by, a sentence for a reader.
    """

    question_id: str
    setup: str
    cause: str
    why: str


@dataclass(frozen=True)
class Cause:
    """One kind of fault.

    Attributes:
        title: as it stands in a list of causes.
        mend: what would mend it in a tuned setup.
        untuned: what would mend it in a setup of the base model; empty: the same.
        tell: says why it applies to an answer; None where it does not.
    """

    name: str
    title: str
    mend: str
    tell: Callable[[Wrong], str | None]
    untuned: str = ""


@dataclass(frozen=True)
class Said:
    """What one setup said to a question.

    Attributes:
        right: by exact match.
        contains: by the lenient metric.
        fault: why there is no score; empty where there is one.
    """

    record: Record
    right: bool
    contains: bool
    fault: str

    @classmethod
    def of(cls, record: Record, row: Row) -> Said:
        scores, failed = row["scores"], row["failed"]
        fault = record.error or failed.get("exact_match") or ""
        return cls(record, scores.get("exact_match") == 1.0, scores.get("contains") == 1.0, str(fault))


@dataclass(frozen=True)
class Asked:
    """One question with what every setup said to it.

    Attributes:
        sources: for each source of the question the passages that it consists of; empty where nothing was looked up.
        absent: sources that the index does not hold.
        choices: gold answers that many questions share, as tokens.
    """

    question: Question
    said: Mapping[str, Said]
    rules: Rules
    sources: tuple[tuple[str, ...], ...]
    absent: tuple[str, ...]
    choices: frozenset[tuple[str, ...]]

    @cached_property
    def golds(self) -> list[tuple[str, ...]]:
        """The gold answers that can be looked up in a passage: no choices, and nothing that the question says."""
        return [run for run in map(run_of, self.question.answers) if self.can_look_up(run)]

    def can_look_up(self, run: tuple[str, ...]) -> bool:
        """Whether finding an answer in a passage tells anything."""
        return bool(run) and not _is_short(run) and run not in self.choices and not contains_tokens(self._asked, run)

    @cached_property
    def _asked(self) -> tuple[str, ...]:
        return run_of(self.question.question)

    def claim(self, said: Said) -> tuple[str, ...]:
        """What an answer claims, as tokens; empty where it refuses or failed.

        It is the value that `answer.value` finds. An answer without one claims the choice in it, where the gold answer
        is a choice; else the figures, or without figures the words, that are neither in the question nor in the refusal
        (labels of the house format).
        """
        answer = said.record.answer
        if said.fault or is_refusal(answer, self.rules):
            return ()
        value = run_of(value_of(answer, self.rules))
        if self.rules.value is not None and self.rules.value.search(answer):
            return value
        if any(run_of(gold) in self.choices for gold in self.question.answers):
            chosen = [choice for choice in self.choices if contains_tokens(value, choice)]
            return chosen[0] if len(chosen) == 1 else ()
        known = {*self._asked, *run_of(self.rules.refusal)}
        told = tuple(dict.fromkeys(word for word in value if word not in known))
        return tuple(word for word in told if is_figure(word)) or told


@dataclass(frozen=True)
class Wrong:
    """A wrong answer, beside everything that tells why."""

    asked: Asked
    said: Said

    @property
    def question(self) -> Question:
        return self.asked.question

    @property
    def record(self) -> Record:
        return self.said.record

    @cached_property
    def retrieves(self) -> bool:
        return retrieves(self.record)

    @cached_property
    def claim(self) -> tuple[str, ...]:
        return self.asked.claim(self.said)

    @cached_property
    def refused(self) -> bool:
        return is_refusal(self.record.answer, self.asked.rules)

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """The passages as the model read them; empty texts are unknown."""
        return tuple(passage.text for passage in self.record.passages if passage.text)

    def where(self, run: tuple[str, ...]) -> list[int]:
        """Numbers of the passages shown that hold an answer."""
        return [number for number, one in enumerate(self.record.passages, 1) if holds(one.text, run)]


def attribute(
    located: Located, records: Iterable[Record], rows: Iterable[Row], rules: Rules
) -> list[Finding]:  # fmt: skip
    """Why each wrong answer is wrong, in the order of the rows; right ones are left out.

    Args:
        located: the questions; where they were not looked up in an index, what it lacks is not known.
        rows: as `ragft.evaluate.score.score` returns them.
    """
    record_of = {(record.question_id, record.setup): record for record in records}
    said: dict[str, dict[str, Said]] = {}
    rows = list(rows)
    for row in rows:
        name, setup = row["question_id"], row["setup"]
        said.setdefault(name, {})[setup] = Said.of(record_of[name, setup], row)
    choices = choices_of(located.questions)
    asked = {
        one.id: Asked(
            one, said.get(one.id, {}), rules, located.passages.get(one.id, ()), located.absent.get(one.id, ()), choices
        )
        for one in located.questions
    }
    findings = []
    for row in rows:
        one = asked[row["question_id"]]
        answer = one.said[row["setup"]]
        if not answer.right:
            findings.append(_decided(Wrong(one, answer)))
    return findings


def _decided(wrong: Wrong) -> Finding:
    for cause in CAUSES.values():
        why = cause.tell(wrong)
        if why is not None:
            return Finding(wrong.question.id, wrong.record.setup, cause.name, why)
    raise AssertionError("the last cause applies to everything")


def summary(findings: Iterable[Finding], rows: Iterable[Row]) -> dict[str, list[dict[str, Any]]]:
    """For each setup its causes, the most frequent first.

    Each is `{cause, title, count, of, share, gain, mend, text}`: `of` is the number of questions, `gain` how many
    points of exact match mending it could gain at most, `text` all of it in a sentence.
    """
    of = Counter(row["setup"] for row in rows)
    counts: dict[str, Counter[str]] = {setup: Counter() for setup in of}
    loops: Counter[str] = Counter()
    for finding in findings:
        counts[finding.setup][finding.cause] += 1
        loops[finding.setup] += finding.cause == "cut-off" and finding.why.endswith(_REPEATS)
    order = list(CAUSES)
    return {
        setup: [
            _summed(setup, CAUSES[name], count, of[setup], loops[setup])
            for name, count in sorted(causes.items(), key=lambda item: (-item[1], order.index(item[0])))
        ]
        for setup, causes in counts.items()
    }


def _summed(setup: str, cause: Cause, count: int, of: int, loops: int) -> dict[str, Any]:
    is_tuned = setup in SETUPS and SETUPS[setup].tuned
    mend = cause.mend if is_tuned else cause.untuned or cause.mend
    if cause.name == "cut-off" and 2 * loops > count:
        mend = f"{loops} of them repeat themselves, so longer answers mend nothing: {_TUNE}"
    gain = 100 * count / of
    text = f"{count} of {of}: {cause.title}: {mend}; gains at most {gain:.1f} points of exact match."
    return {
        "cause": cause.name, "title": cause.title, "count": count, "of": of, "share": count / of, "gain": gain,
        "mend": mend, "text": text,
    }  # fmt: skip


def retrieves(record: Record) -> bool:
    """Whether a setup sees passages, whatever the search found for this question."""
    setup = SETUPS.get(record.setup)
    return setup.retrieval if setup else record.index_version is not None or bool(record.passages)


def choices_of(questions: Sequence[Question]) -> frozenset[tuple[str, ...]]:
    """Gold answers that so many questions share that they are choices; see `CHOICE`."""
    runs = [{run_of(answer) for answer in question.answers} for question in questions if question.answerable]
    times = Counter(run for found in runs for run in found)
    share = CHOICE * len(runs)
    return frozenset(run for run, count in times.items() if count >= 2 and (count >= share or _is_short(run)))


def _is_short(run: tuple[str, ...]) -> bool:
    return len(run) == 1 and len(run[0]) <= _SHORT and not is_figure(run[0])


def run_of(text: str) -> tuple[str, ...]:
    return text_of(text).run if text.strip() else ()


def is_figure(word: str) -> bool:
    return any(letter.isdigit() for letter in word)


def holds(passage: str, run: tuple[str, ...]) -> bool:
    """Whether a passage holds an answer, word for word."""
    return bool(passage) and contains_tokens(run_of(passage), run)


# --- the list, in its order


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
        others = (asked.choices | figures) - golds
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


_REPEATS = "repeats itself."


def _cut_off(wrong: Wrong) -> str | None:
    if wrong.record.finish_reason != "length":
        return None
    end = " It repeats itself." if repeats(wrong.record.answer) else ""
    return f"It reached the longest answer allowed before the right fact.{end}"


def repeats(answer: str) -> bool:
    """Whether an answer ends in a loop: the same characters four times, whatever the digits."""
    return _LOOP.search(re.sub(r"\d+", "0", answer[-600:])) is not None


def _refused(wrong: Wrong) -> str | None:
    if not (wrong.refused and wrong.retrieves):
        return None
    return "It refused, although the passages that it saw hold the answer."


def _memory(wrong: Wrong) -> str | None:
    """It says what the model says without passages, or what was right before, and no passage shown says so."""
    claim, asked = wrong.claim, wrong.asked
    if not wrong.retrieves or not asked.can_look_up(claim) or wrong.where(claim):
        return None
    if any(run_of(stale) == claim for stale in wrong.question.stale_answers):
        return f'"{" ".join(claim)}" was right before the documents changed, and no passage says so.'
    for setup, said in asked.said.items():
        if not retrieves(said.record) and _same_model(said.record, wrong.record) and asked.claim(said) == claim:
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
    if len(said) < _SHORT:
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


def _unknown(wrong: Wrong) -> str | None:
    return "It sees no passages, and refused." if wrong.refused else "It sees no passages, and does not know the fact."


_TUNE = "tune the model (hybrid), or take a larger one"

_TABLE = (
    Cause("failed", "failed", "read the errors in records.jsonl, and run `ragft evaluate` again", _failed),
    Cause(
        "doubtful", "question or gold answer doubtful",
        "read these questions beside their sources, and correct the gold answer or the question", _doubtful,
    ),
    Cause(
        "should-refuse", "should have refused",
        "lower data.mix.gold_share, so that training shows more refusals", _should_refuse,
        f"demand the refusal in prompt.system, or {_TUNE}",
    ),
    Cause(
        "form", "right fact in wrong form",
        "train on more examples of the house format, or widen answer.value", _form,
        f"describe the house format in prompt.system, widen answer.value, or {_TUNE}",
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
        f"say in prompt.system when to refuse, or {_TUNE}",
    ),
    Cause(
        "memory", "answered from memory against the passage",
        "lower data.mix.closed_book_share, so that training shows more passages", _memory, _TUNE,
    ),
    Cause(
        "misread", "read or concluded wrongly from the passages",
        "add examples of these kinds of questions, or lower index.search.top_k, so that fewer passages compete",
        _misread, _TUNE,
    ),
    Cause(
        "ignored", "retrieved but ignored",
        "train on more rows with passages (data.mix.repeats), or take a larger model", _ignored, _TUNE,
    ),
    Cause("unknown", "not known, without passages", "answer with retrieval, as rag-only and hybrid do", _unknown),
)  # fmt: skip
CAUSES: dict[str, Cause] = {cause.name: cause for cause in _TABLE}
"""The decision list: of all causes that apply to a wrong answer, the first one is its cause."""
