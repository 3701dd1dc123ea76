"""Why answers are wrong: each wrong answer gets one cause, and each setup a summary that says what to mend first.

Pure functions over questions, records and rows of scores; nothing here is random. `causes` holds the list of causes,
`wrong` what it looks at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ragft.data.gold import Located
from ragft.evaluate.causes import CAUSES, REPEATS, TUNE, Cause
from ragft.evaluate.metrics import Rules
from ragft.evaluate.records import Record
from ragft.evaluate.wrong import Asked, Row, Said, Wrong, choices_of
from ragft.setups import SETUPS

ATTRIBUTION_VERSION = 3
"""Increased whenever the same records may get another cause."""


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


def attribute(located: Located, records: Iterable[Record], rows: Iterable[Row], rules: Rules) -> list[Finding]:
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


def summary(
    findings: Iterable[Finding], rows: Iterable[Row], setting: Callable[[str], Any] = lambda key: None
) -> dict[str, list[dict[str, Any]]]:
    """For each setup its causes, the most frequent first.

    Args:
        setting: the value of a key of the configuration, so that nothing is advised that is done already.

    Each is `{cause, title, count, of, share, gain, mend, text}`: `of` is the number of questions, `gain` how many
    points of exact match mending it could gain at most, `text` all of it in a sentence.
    """
    of = Counter(row["setup"] for row in rows)
    counts: dict[str, Counter[str]] = {setup: Counter() for setup in of}
    loops: Counter[str] = Counter()
    for finding in findings:
        counts[finding.setup][finding.cause] += 1
        loops[finding.setup] += finding.cause == "cut-off" and finding.why.endswith(REPEATS)
    order = list(CAUSES)
    return {
        setup: [
            _summed(setup, CAUSES[name], count, of[setup], loops[setup], setting)
            for name, count in sorted(causes.items(), key=lambda item: (-item[1], order.index(item[0])))
        ]
        for setup, causes in counts.items()
    }


def _summed(setup: str, cause: Cause, count: int, of: int, loops: int, setting: Callable[[str], Any]) -> dict[str, Any]:
    mend = cause.advice(is_tuned=setup in SETUPS and SETUPS[setup].tuned, setting=setting)
    if cause.name == "cut-off" and 2 * loops > count:
        mend = f"{loops} of them repeat themselves, so longer answers mend nothing: {TUNE}"
    gain = 100 * count / of
    text = f"{count} of {of}: {cause.title}: {mend}; gains at most {gain:.1f} points of exact match."
    return {
        "cause": cause.name, "title": cause.title, "count": count, "of": of, "share": count / of, "gain": gain,
        "mend": mend, "text": text,
    }  # fmt: skip
