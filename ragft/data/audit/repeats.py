"""Rows that repeat others, exactly and nearly, and rows that contradict others, for any number of rows.

Exact repetition compares hashes. Near repetition is what `ragft.data.duplicates` calls two questions with the same
figures and most of their words in common, a word counting for more the rarer it is. Pairs are found by the prefix
filter of set similarity joins (Chaudhuri et al., 2006), as in `index.search.duplicates`: two such questions share one
of the rarest words of each. Unlike MinHash, it takes the weights into account, keeps no object for each row, and misses
a pair only where very many rows share a rare word and their figures (`MOST_COMPARED`). Words wait in a file.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ragft.data.answers import UNSPACED
from ragft.data.audit.kinds import Flag, Table, batches
from ragft.data.copies import FURTHER, TELLING
from ragft.data.duplicates import normal

MOST_COMPARED = 24
"""Rows before it, with the same rare word and the same figures, that a row is compared with: keeps the time linear."""
_BATCH = 65_536
_COUNTERS = 1 << 22
"""Places of the table that words are counted in: 32 MiB, whatever the vocabulary."""

Numbers = npt.NDArray[np.int64]


def plain_words(text: str) -> list[str]:
    """The words of a text as they are compared here; of writing without spaces, each pair of neighbours."""
    words = normal(text).split()
    if text.isascii():
        return words
    cut: list[str] = []
    for word in words:
        for piece in UNSPACED.sub(lambda found: f" {found[0]} ", word).split():
            runs = UNSPACED.fullmatch(piece) and len(piece) > 1
            cut += [piece[at : at + 2] for at in range(len(piece) - 1)] if runs else [piece]
    return cut


class Words:
    """The distinct words of the questions of all rows: hashes in a file, row after row."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._buffer = array("I")
        self.starts = array("Q", [0])
        self.figures = array("I")

    def add(self, words: Sequence[str]) -> None:
        """The words of the next row."""
        distinct = dict.fromkeys(words)
        self._buffer.extend(zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in distinct)
        figures = sorted(word for word in distinct if any(map(str.isdigit, word)))
        self.figures.append(zlib.crc32("\0".join(figures).encode()) if figures else 0)
        self.starts.append(self.starts[-1] + len(distinct))
        if len(self._buffer) > 1 << 20:
            self._flush()

    def _flush(self) -> None:
        self._buffer.tofile(self._file)
        del self._buffer[:]

    def done(self) -> npt.NDArray[np.uint32]:
        """All hashes, (words,) uint32; mapped, so that memory holds what is read of them."""
        self._flush()
        self._file.close()
        if not self.starts[-1]:
            return np.zeros(0, dtype=np.uint32)
        return np.memmap(self._path, dtype=np.uint32, mode="r")


def repeats(table: Table) -> Iterator[Flag]:
    """Rows whose question stood in an earlier row: duplicates, or contradictions where the answers differ."""
    questions = np.frombuffer(table.question, dtype=np.uint64)
    said, answers = (np.frombuffer(column, dtype=np.uint64) for column in (table.said, table.answer))
    read = np.flatnonzero(np.frombuffer(table.is_read, dtype=np.uint8))
    if not len(read):
        return
    order = read[np.argsort(questions[read], kind="stable")]
    starts = np.flatnonzero(np.diff(questions[order], prepend=questions[order[:1]] ^ np.uint64(1)))
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
        if end - start > 1:
            yield from _of_one_question(order[start:end].tolist(), said, answers)


def _of_one_question(rows: list[int], said: npt.NDArray[np.uint64], answers: npt.NDArray[np.uint64]) -> Iterator[Flag]:
    """The rows with one question, in their order."""
    first_with: dict[int, int] = {}
    first_saying: dict[int, int] = {}
    for row in rows:
        earlier = first_with.setdefault(int(answers[row]), row)
        if earlier != row:
            yield Flag("duplicate", row, "question and answer", earlier)
        elif (alike := first_saying.setdefault(int(said[row]), row)) != row:
            yield Flag("near_duplicate", row, "the same question, and the same answer otherwise written", alike)
    if len(first_saying) > 1:
        one, other, *_ = first_saying.values()
        for saying, row in first_saying.items():
            yield Flag("contradiction", row, "the same question", other if saying == int(said[one]) else one)


def near_repeats(table: Table, words: Words, alike: float) -> Iterator[Flag]:
    """Rows that nearly ask what an earlier row asks, with the same answer.

    Args:
        alike: share of the weight of the words that two questions must have in common.
    """
    hashes, starts = words.done(), np.frombuffer(words.starts, dtype=np.uint64).astype(np.int64)
    if not len(hashes):  # no row could be read, or none holds a word
        return
    weights = _weights(hashes, len(table))
    places = np.flatnonzero(np.frombuffer(table.is_read, dtype=np.uint8))
    keys, holders = _prefixes(hashes, starts, weights, words, places, alike)
    order = np.lexsort((holders, keys))
    keys, holders = keys[order], holders[order]
    answers = np.frombuffer(table.answer, dtype=np.uint64)
    questions, figures = np.frombuffer(table.question, dtype=np.uint64), np.frombuffer(words.figures, dtype=np.uint32)
    found: set[int] = set()
    for back in range(1, MOST_COMPARED + 1):
        same = np.flatnonzero(keys[back:] == keys[:-back])
        rows, others = holders[same + back], holders[same]
        # What has the same question was told by `repeats`.
        kept = (
            (answers[rows] == answers[others])
            & (figures[rows] == figures[others])
            & (questions[rows] != questions[others])
        )
        for row, other in zip(rows[kept].tolist(), others[kept].tolist(), strict=True):
            if row in found:
                continue
            one, two = (np.asarray(hashes[starts[at] : starts[at + 1]]) for at in (row, other))
            why = _alike(one, two, weights, alike)
            if why:
                found.add(row)
                yield Flag("near_duplicate", row, why, other)


def _weights(hashes: npt.NDArray[np.uint32], rows: int) -> npt.NDArray[np.float32]:
    """For each place of the table of counts the weight of the words there: the logarithm of rows per row with it."""
    counts = np.zeros(_COUNTERS, dtype=np.int64)
    for part in batches(len(hashes), 1 << 22):
        counts += np.bincount(hashes[part] % _COUNTERS, minlength=_COUNTERS)
    weights: npt.NDArray[np.float32] = np.log(rows / np.maximum(counts, 1)).clip(min=0).astype(np.float32)
    return weights


def _prefixes(
    hashes: npt.NDArray[np.uint32], starts: Numbers, weights: npt.NDArray[np.float32], words: Words, places: Numbers,
    alike: float,
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]:  # fmt: skip
    """The rarest words of each row together with its figures, as keys, and whose they are.

    Without any of them, less than `alike` of the row's weight is left, so another row that is alike has one of them;
    and of a row that has `FURTHER` words more than another, one of so many is in that one.
    """
    figures = np.frombuffer(words.figures, dtype=np.uint32)
    all_keys, all_rows = [], []
    for part in batches(len(places), _BATCH):
        rows = places[part]
        low, high = int(starts[rows[0]]), int(starts[rows[-1] + 1])
        own = np.asarray(hashes[low:high])
        of = np.repeat(np.arange(rows[0], rows[-1] + 1), np.diff(starts[rows[0] : rows[-1] + 2]))
        weight = weights[own % _COUNTERS]
        order = np.lexsort((own, -weight, of))
        own, of, weight = own[order], of[order], weight[order]
        total = np.bincount(of - rows[0], weights=weight, minlength=int(rows[-1] - rows[0]) + 1)
        before = np.cumsum(weight, dtype=np.float64) - weight
        begins = np.concatenate([[0.0], np.cumsum(total)[:-1]])
        left = total[of - rows[0]] - (before - begins[of - rows[0]])
        sizes = np.diff(starts[rows[0] : rows[-1] + 2])[of - rows[0]]
        rank = np.arange(low, high) - starts[of]
        kept = ((left >= alike * total[of - rows[0]]) | (rank <= FURTHER * sizes)) & (weight > 0)
        mixed = own[kept].astype(np.uint64) << np.uint64(32) | figures[of[kept]].astype(np.uint64)
        all_keys.append(mixed)
        all_rows.append(of[kept].astype(np.int32))
    return np.concatenate(all_keys), np.concatenate(all_rows)


def _alike(
    one: npt.NDArray[np.uint32], other: npt.NDArray[np.uint32], weights: npt.NDArray[np.float32], alike: float
) -> str:
    """Why two questions say the same, by their words; empty: they do not.

    As in `ragft.data.copies`, one may have all words of the other and few besides, or most of the weight is in common.
    """
    common = np.intersect1d(one, other, assume_unique=True)
    shorter, longer = sorted((len(one), len(other)))
    if len(common) == shorter >= TELLING and longer - shorter <= max(1, FURTHER * shorter):
        return f"the words of the other, and {longer - shorter} more" if longer > shorter else "the same words"
    shared = float(weights[common % _COUNTERS].sum())
    total = float(weights[one % _COUNTERS].sum() + weights[other % _COUNTERS].sum()) - shared
    return f"{shared / total:.0%} of the words" if total and shared >= alike * total else ""


def repeated_ids(table: Table) -> Iterator[tuple[int, int]]:
    """Rows whose id stands in an earlier row of the same file, and that row."""
    identities, files = np.frombuffer(table.identity, dtype=np.uint64), np.frombuffer(table.file, dtype=np.uint8)
    read = np.flatnonzero(np.frombuffer(table.is_read, dtype=np.uint8))
    order = read[np.lexsort((read, identities[read], files[read]))]
    same = (identities[order][1:] == identities[order][:-1]) & (files[order][1:] == files[order][:-1])
    first = 0
    for at in np.flatnonzero(same).tolist():
        first = order[at] if at == 0 or not same[at - 1] else first
        yield int(order[at + 1]), int(first)
