"""Every question with what all setups answered, for reading, searching and filtering.

Passages are shown with many questions, so the page holds the text of each once. What all texts together may take is
bounded, so that a page of 600 questions still opens at once.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from ragft.data.questions import Question
from ragft.evaluate.metrics import Measure
from ragft.evaluate.metrics.citations import sources_among
from ragft.evaluate.records import PassageRef, Record
from ragft.evaluate.report.differences import lacking, marked
from ragft.evaluate.report.numbers import milliseconds
from ragft.evaluate.rows import Row
from ragft.evaluate.score import Comparison
from ragft.evaluate.verdict import percent

ANSWERS, PASSAGES = 800_000, 1_000_000
"""Characters of all answers and all passages on one page."""
LEAST = 200
"""Characters of an answer or passage that are shown whatever the bound says."""

Finding = Mapping[str, Any]
MARKS = {
    "right": "right", "text": "only in the text", "stale": "out of date", "refused": "refused", "wrong": "wrong",
    "failed": "failed", "unscored": "not scored",
}  # fmt: skip
"""What an answer is, and how that is said. `text`: it holds the gold answer, not as the exact value."""


def browser(
    comparison: Comparison,
    records: Sequence[Record],
    questions: Sequence[Question],
    scores: Sequence[Row],
    findings: Iterable[Any] = (),
    value_of: Callable[[str], str] | None = None,
) -> dict[str, Any] | None:
    """The questions, the choices of the filters, and the passages; None without scores.

    Each question has `keys`, which the filters look for: `t0` it has the first tag; `r1`, `w1`, `f1` the second setup
    is right, is wrong, failed; `c2s1` the third cause is why.

    Args:
        findings: why answers are wrong: `{question_id, setup, cause, why}`, as mappings or dataclasses.
        value_of: takes the exact value out of an answer; None: the whole answer is compared.
    """
    if not scores:
        return None
    setups = list(comparison.setups)
    rows = {(row["question_id"], row["setup"]): row for row in scores}
    record_of = {(record.question_id, record.setup): record for record in records}
    why = {(each["question_id"], each["setup"]): each for each in map(_as_mapping, findings)}
    tags = _most_frequent(tag for question in questions for tag in question.tags)
    causes = _most_frequent(str(each["cause"]) for each in why.values())
    store = _Store(records)
    limit = fair_limit([len(record.answer) for record in records], ANSWERS)
    shown = [question for question in questions if (question.id, setups[0]) in rows]
    entries = []
    for at, question in enumerate(shown):
        asked = [
            (record_of[question.id, name], rows[question.id, name], why.get((question.id, name))) for name in setups
        ]
        cards = [
            _card(question, record, row, finding, limit, value_of, comparison.measure) for record, row, finding in asked
        ]
        keys = [f"t{tags.index(tag)}" for tag in dict.fromkeys(question.tags)]
        for number, card in enumerate(cards):
            keys.append(f"{'r' if card['kind'] == 'right' else 'w'}{number}")
            if card["kind"] == "failed":
                keys.append(f"f{number}")
            if card["cause"]:
                keys.append(f"c{causes.index(card['cause'])}s{number}")
        entries.append({
            "anchor": f"q{at + 1}", "question": question, "cards": cards, "keys": " ".join(keys),
            "lists": _passage_lists(question, [record for record, _, _ in asked], store),
        })  # fmt: skip
    return {
        "entries": entries, "cut": limit, "passages": store.passages, "passages_cut": store.limit,
        "filters": _filters(comparison, entries, tags, causes), "starts": _starts(comparison, entries),
        "cause_keys": {
            (cause, name): f"c{at}s{number}" for at, cause in enumerate(causes) for number, name in enumerate(setups)
        },
    }  # fmt: skip


def _filters(
    comparison: Comparison, entries: Sequence[Mapping[str, Any]], tags: Sequence[str], causes: Sequence[str]
) -> list[dict[str, Any]]:
    """The choices of each filter: `{title, groups}`, of groups with a title and `(key, text, questions)`."""
    used = Counter(key for entry in entries for key in entry["keys"].split())
    setups = list(comparison.setups)
    titles = {cause["cause"]: cause["title"] for found in comparison.causes.values() for cause in found}
    by_setup = {
        title: [(f"{letter}{at}", setup, used[f"{letter}{at}"]) for at, setup in enumerate(setups)]
        for title, letter in (("Right", "r"), ("Wrong", "w"), ("Failed", "f"))
    }
    found: dict[str, list[tuple[str, list[tuple[str, str, int]]]]] = {
        "Tag": [("", [(f"t{at}", tag, used[f"t{at}"]) for at, tag in enumerate(tags)])],
        **{title: [("", options)] for title, options in by_setup.items()},
        "Cause": [],
    }
    for number, setup in enumerate(setups):
        of = [(f"c{at}s{number}", titles.get(cause, cause)) for at, cause in enumerate(causes)]
        found["Cause"].append((setup, [(key, title, used[key]) for key, title in of]))
    filters = []
    for title, groups in found.items():
        kept = [(group, [option for option in options if option[2]]) for group, options in groups]
        if kept := [(group, options) for group, options in kept if options]:
            filters.append({"title": title, "groups": kept})
    return filters


def fair_limit(lengths: Sequence[int], budget: int) -> int | None:
    """The most characters that each of several texts may have for all to fit into a budget; None where all fit whole.

    Short texts keep what they have, and what they leave goes to the long ones.
    """
    if sum(lengths) <= budget:
        return None
    left = budget
    for rank, length in enumerate(ordered := sorted(lengths)):
        fair = left // (len(ordered) - rank)
        if length > fair:
            return max(LEAST, fair)
        left -= length
    return None


def _as_mapping(finding: Any) -> Finding:
    return asdict(finding) if is_dataclass(finding) and not isinstance(finding, type) else dict(finding)


def _most_frequent(values: Iterable[str]) -> list[str]:
    counts = Counter(values)
    return sorted(counts, key=lambda value: (-counts[value], value))


class _Store:
    """The passages of a page, each once, by what they are and say."""

    def __init__(self, records: Sequence[Record]) -> None:
        found = dict.fromkeys(_key(passage) for record in records for passage in record.passages)
        self.limit = fair_limit([len(text) for _, text in found], PASSAGES)
        self._numbers = {key: number for number, key in enumerate(found)}
        self.passages: list[dict[str, Any]] = [{} for _ in found]
        for record in records:
            for passage in record.passages:
                text = passage.text
                self.passages[self._numbers[_key(passage)]] = {
                    "anchor": self.anchor(passage), "title": _title(passage), "document": passage.document_id,
                    "text": text[: self.limit], "is_cut": self.limit is not None and len(text) > self.limit,
                }  # fmt: skip

    def anchor(self, passage: PassageRef) -> str:
        return f"p{self._numbers[_key(passage)] + 1}"


def _key(passage: PassageRef) -> tuple[str, str]:
    return passage.chunk_id, passage.text


def _title(passage: PassageRef) -> str:
    path = [part for part in passage.path if part] or [passage.title, passage.heading]
    return " › ".join(dict.fromkeys(part for part in path if part)) or passage.document_id


def _passage_lists(question: Question, records: Sequence[Record], store: _Store) -> list[dict[str, Any]]:
    """The passages of a question, once for the setups that saw the same ones."""
    groups: dict[tuple[tuple[str, str], ...], list[Record]] = {}
    for record in records:
        if record.passages:
            groups.setdefault(tuple(map(_key, record.passages)), []).append(record)
    return [
        {
            "setups": [record.setup for record in group],
            "passages": [
                {
                    "number": number, "anchor": store.anchor(passage), "title": _title(passage),
                    "document": passage.document_id, "gold": bool(sources_among(question, [passage])),
                    "cited": [record.setup for record in group if number in record.citations],
                }
                for number, passage in enumerate(group[0].passages, start=1)
            ],
        }
        for group in groups.values()
    ]  # fmt: skip


def _card(
    question: Question, record: Record, row: Row, finding: Finding | None, limit: int | None,
    value_of: Callable[[str], str] | None, decides: Measure,
) -> dict[str, Any]:  # fmt: skip
    kind = _kind(record, row)
    answer = record.answer if limit is None else record.answer[:limit]
    value = value_of(record.answer) if value_of and record.answer else None
    # A value that the rules rewrote stands nowhere in the answer, so all of it is compared.
    parts = marked(answer, question.answers, value if value and value in answer else None)
    scored = row["scores"].get(decides.name)
    facts = [
        f"{decides.title} {percent(scored)}" if decides.name != "exact_match" and scored is not None else "",
        f"{record.answer_tokens} tokens" if record.answer_tokens is not None else "",
        milliseconds(record.total_ms) if record.total_ms is not None else "",
        "cut off at the longest answer allowed" if record.finish_reason == "length" else "",
    ]
    return {
        "setup": record.setup, "kind": kind, "mark": MARKS[kind], "parts": parts, "error": record.error,
        "is_cut": len(answer) < len(record.answer), "facts": " · ".join(fact for fact in facts if fact),
        "lacking": lacking(record.answer, question.answers) if kind in ("wrong", "stale") else "",
        "cause": str(finding["cause"]) if finding else "", "why": str(finding["why"]) if finding else "",
    }  # fmt: skip


def _kind(record: Record, row: Row) -> str:
    scores = row["scores"]
    if record.error is not None:
        return "failed"
    if scores.get("exact_match") is None:
        return "failed" if "exact_match" in row["failed"] else "unscored"
    if scores["exact_match"] == 1.0:
        return "right"
    if row["freshness"] == "stale":
        return "stale"
    if scores.get("contains") == 1.0:
        return "text"
    return "refused" if scores.get("false_refusal") == 1.0 else "wrong"


def _starts(comparison: Comparison, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Where to begin to read: one question of each telling kind, drawn with the seed, each question once."""
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        for kind in _telling(entry):
            kinds.setdefault(kind, []).append(entry)
    draw, taken, starts = random.Random(comparison.seed), set[str](), []
    for kind in sorted(kinds, key=lambda kind: (-len(kinds[kind]), kind)):
        if unseen := [entry for entry in kinds[kind] if entry["anchor"] not in taken]:
            entry = draw.choice(unseen)
            taken.add(entry["anchor"])
            starts.append({"kind": kind, "count": len(kinds[kind]), "anchor": entry["anchor"]})
    return starts


def _telling(entry: Mapping[str, Any]) -> Iterable[str]:
    kinds = {card["setup"]: card["kind"] for card in entry["cards"]}
    right = [setup for setup, kind in kinds.items() if kind == "right"]
    if len(right) == 1 and len(kinds) > 1:
        yield f"Only {right[0]} is right"
    if len(right) == len(kinds) - 1 and len(kinds) > 2:
        yield f"All but {next(setup for setup in kinds if setup not in right)} are right"
    if not right:
        yield "Nobody is right"
    if "failed" in kinds.values():
        yield "An answer failed"
    if "stale" in kinds.values():
        yield "An answer is out of date"
    if not entry["question"].answerable:
        yield "The documents hold no answer"
    found = [group["setups"] for group in entry["lists"] if any(passage["gold"] for passage in group["passages"])]
    for setup in kinds:
        if any(setup in setups for setups in found) and kinds[setup] not in ("right", "failed"):
            yield f"{setup} is wrong although the source was found"
