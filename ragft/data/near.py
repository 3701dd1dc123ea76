"""Questions that nearly say the same, found among any number of them in linear time and a few numbers of memory each.

Two questions are alike if they have the same figures and most of their words in common, a word counting for more the
rarer it is. Pairs are found by the prefix filter of set similarity joins (Chaudhuri et al., 2006), as in
`index.search.duplicates`: two such questions share one of the rarest words of each. Unlike MinHash, it takes the
weights into account and misses a pair only where very many rows share a rare word and their figures. The audit, the
split, generation and feedback all find near duplicates here.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ragft.data.answers import UNSPACED, text_of
from ragft.data.duplicates import ALIKE, FURTHER, TELLING, hash_of, normal

_BATCH = 65_536
_PAIRS = 1 << 16  # that are compared at a time
_FEWEST_COUNTERS, _MOST_COUNTERS = 1 << 12, 1 << 22
"""Places of the table that words are counted in: 1,024 for each word, at most 32 MiB, whatever the vocabulary."""

MOST_PAIRS = 24
"""Pairs that are compared for each row, in the mean over all rows: keeps the time linear."""
_FEWEST_PAIRS = 4_000_000  # that are compared in any case: of fewer rows, nothing is missed

Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def plain_words(text: str) -> list[str]:
    """The words of a text as they are written, without case; of writing without spaces, each pair of neighbours."""
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
    """The distinct words of all rows: hashes, row after row.

    Attributes:
        starts: (rows + 1,) where the words of each row begin.
        figures: (rows,) a hash of the words of each row that hold digits; 0 where there are none.
    """

    def __init__(self, path: Path | None = None) -> None:
        """
        Args:
            path: of the file in which the words wait, so that memory holds what is read of them; None: in memory.
        """
        self._path = path
        self._file = path.open("wb") if path else None
        self._buffer = array("I")
        self.starts = array("Q", [0])
        self.figures = array("I")

    def add(self, words: Iterable[str]) -> None:
        """The words of the next row."""
        distinct = dict.fromkeys(words)
        self._buffer.extend(zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in distinct)
        figures = sorted(word for word in distinct if any(map(str.isdigit, word)))
        self.figures.append(zlib.crc32("\0".join(figures).encode("utf-8", "surrogatepass")) if figures else 0)
        self.starts.append(self.starts[-1] + len(distinct))
        if self._file and len(self._buffer) > 1 << 20:
            self._flush()

    def _flush(self) -> None:
        if self._file:
            self._buffer.tofile(self._file)
            del self._buffer[:]

    def done(self) -> npt.NDArray[np.uint32]:
        """All hashes, (words,) uint32."""
        if self._file is None or self._path is None:
            return np.array(self._buffer, dtype=np.uint32)
        self._flush()
        self._file.close()
        if not self.starts[-1]:
            return np.zeros(0, dtype=np.uint32)
        return np.memmap(self._path, dtype=np.uint32, mode="r")


class Near:
    """Finds pairs of rows that are alike.

    Attributes:
        alike: share of the weight of the words that two rows must have in common.
    """

    def __init__(self, words: Words, places: Numbers, alike: float) -> None:
        """
        Args:
            words: of all rows.
            places: the rows that are compared, in order; the others do not count.
        """
        self.alike = alike
        self._hashes = words.done()
        self._starts = np.array(words.starts, dtype=np.int64)
        self._figures = np.array(words.figures, dtype=np.uint32)
        self._places = places
        self._counters = min(_MOST_COUNTERS, max(_FEWEST_COUNTERS, 1 << (1024 * len(self._hashes)).bit_length()))
        self._weights, self._totals = self._weighed()

    def pairs(
        self, wanted: Callable[[Numbers, Numbers], Mask], longer: Callable[[Numbers, Numbers], Mask],
        most_back: int | None = None,
    ) -> Iterator[tuple[Numbers, Numbers]]:  # fmt: skip
        """Rows and, for each, an earlier one that it is alike; some pairs more than once.

        Args:
            wanted: which pairs of rows are compared at all.
            longer: which pairs are alike, too, if one has all words of the other and few besides.
            most_back: rows before it, with the same rare word and the same figures, that each is compared with. None:
                all, until `MOST_PAIRS` for each row were.
        """
        if not len(self._hashes) or not len(self._places):
            return
        keys, holders = self._prefixes()
        left = max(_FEWEST_PAIRS, MOST_PAIRS * len(self._places))
        for back in range(1, len(keys)):
            same = np.flatnonzero(keys[back:] == keys[:-back])
            if not len(same) or left <= 0 or (most_back is not None and back > most_back):
                return
            rows, others = holders[same + back].astype(np.int64), holders[same].astype(np.int64)
            kept = wanted(rows, others)
            rows, others = rows[kept], others[kept]
            if most_back is None:
                rows, others = rows[:left], others[:left]
                left -= len(rows)
            for part in _batches(len(rows), _PAIRS):
                found = self._compared(rows[part], others[part], longer)
                if found.any():
                    yield rows[part][found], others[part][found]

    def why(self, row: int, other: int) -> str:
        """How alike two rows are that were found to be."""
        one, two = (self._hashes[self._starts[at] : self._starts[at + 1]] for at in (row, other))
        common = np.intersect1d(one, two, assume_unique=True)
        shorter, longer = sorted((len(one), len(two)))
        if len(common) == shorter >= TELLING and longer - shorter <= max(1, FURTHER * shorter):
            return f"the words of the other, and {longer - shorter} more" if longer > shorter else "the same words"
        shared = float(self._weights[common % self._counters].sum())
        total = float(self._totals[row] + self._totals[other]) - shared
        return f"{shared / total:.0%} of the words"

    def _weighed(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """For each place of the table of counts the weight of the words there, the logarithm of rows per row with it;
        and the sum of them for each row.
        """
        counts = np.zeros(self._counters, dtype=np.int64)
        for own, _, _ in self._parts():
            counts += np.bincount(own % self._counters, minlength=self._counters)
        weights = np.log(max(1, len(self._places)) / np.maximum(counts, 1)).clip(min=0)
        totals = np.zeros(len(self._starts) - 1)
        for own, of, rows in self._parts():
            totals[rows] = np.bincount(of, weights=weights[own % self._counters], minlength=len(rows))
        return weights, totals

    def _parts(self) -> Iterator[tuple[npt.NDArray[np.uint32], Numbers, Numbers]]:
        """The words of the rows that are compared, batch after batch: hashes, whose they are, and the rows."""
        for part in _batches(len(self._places), _BATCH):
            rows = self._places[part]
            yield (*self._words_of(rows), rows)

    def _words_of(self, rows: Numbers) -> tuple[npt.NDArray[np.uint32], Numbers]:
        """The hashes of the words of some rows, and for each its place among `rows`."""
        starts, sizes = self._starts[rows], self._starts[rows + 1] - self._starts[rows]
        of = np.repeat(np.arange(len(rows)), sizes)
        within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return np.asarray(self._hashes[starts[of] + within]), of

    def _prefixes(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]:
        """The rarest words of each row together with its figures, as keys, and whose they are; sorted by both.

        Without any of them, less than `alike` of the row's weight is left, so another row that is alike has one of
        them; and of a row that has `FURTHER` words more than another, one of so many is in that one.
        """
        all_keys, all_rows = [], []
        for own, of, rows in self._parts():
            weight, total = self._weights[own % self._counters], self._totals[rows]
            order = np.lexsort((own, -weight, of))
            own, weight = own[order], weight[order]  # `of` is sorted, and stays as it is
            before = np.cumsum(weight) - weight
            left = total[of] - (before - np.concatenate([[0.0], np.cumsum(total)[:-1]])[of])
            sizes = np.bincount(of, minlength=len(rows))
            rank = np.arange(len(own)) - (np.cumsum(sizes) - sizes)[of]
            enough = left >= self.alike * total[of] - 1e-6
            kept = (enough | (rank <= FURTHER * sizes[of])) & ((weight > 0) | (rank == 0))
            all_keys.append(own[kept].astype(np.uint64) << np.uint64(32) | self._figures[rows[of[kept]]])
            all_rows.append(rows[of[kept]].astype(np.int32))
        keys, holders = np.concatenate(all_keys), np.concatenate(all_rows)
        order = np.argsort(keys, kind="stable")  # rows are in order already
        return keys[order], holders[order]

    def _compared(self, rows: Numbers, others: Numbers, longer: Callable[[Numbers, Numbers], Mask]) -> Mask:
        """Which of some pairs are alike."""
        pairs = []
        for side in (rows, others):
            own, of = self._words_of(side)
            pairs.append(of.astype(np.uint64) << np.uint64(32) | own)
        words = np.sort(np.concatenate(pairs))
        twice = words[1:][words[1:] == words[:-1]]
        of = (twice >> np.uint64(32)).astype(np.int64)
        weight = self._weights[(twice & np.uint64(0xFFFFFFFF)) % np.uint64(self._counters)]
        common = np.bincount(of, minlength=len(rows))
        shared = np.bincount(of, weights=weight, minlength=len(rows))
        union = self._totals[rows] + self._totals[others] - shared
        alike: Mask = (union > 0) & (shared >= self.alike * union - 1e-9)
        one, two = (self._starts[side + 1] - self._starts[side] for side in (rows, others))
        shorter, beside = np.minimum(one, two), np.abs(one - two)
        within = (common == shorter) & (shorter >= TELLING) & (beside <= np.maximum(1, FURTHER * shorter))
        found: Mask = alike | (within & longer(rows, others))
        return found


class Asked:
    """Questions of which those that say the same are brought together, in the order in which they are added."""

    def __init__(self, path: Path | None = None) -> None:
        """
        Args:
            path: see `Words`.
        """
        self._words = Words(path)
        self._same, self._answers, self._topics = array("Q"), array("Q"), array("Q")

    def add(self, text: str, answer: str = "", topic: str = "") -> None:
        """The next question.

        Args:
            answer: questions with one answer are alike, too, where one says all that the other does and little more.
            topic: what it is known to be about: of two topics, only equal questions say the same.
        """
        self._same.append(hash_of(normal(text)))
        self._answers.append(hash_of(normal(answer)) if answer else 0)
        self._topics.append(hash_of(topic) if topic else 0)
        self._words.add(text_of(text).words)

    def clusters(self) -> Numbers:
        """For each question the place of the first one that says the same, directly or through others.

        Questions say the same if they are equal but for case, white space and punctuation, or if they have the same
        figures and `ALIKE` of their words in common, whatever the order, or as `add` says.
        """
        same, answers, topics = (
            np.array(column, dtype=np.uint64) for column in (self._same, self._answers, self._topics)
        )
        if not len(same):
            return np.zeros(0, dtype=np.int64)
        _, first, inverse = np.unique(same, return_index=True, return_inverse=True)
        root = first[inverse].astype(np.int64)
        near = Near(self._words, np.unique(root), ALIKE)

        def with_one_answer(rows: Numbers, others: Numbers) -> Mask:
            same_answer: Mask = (answers[rows] == answers[others]) & (answers[rows] > 0)
            return same_answer

        def apart(rows: Numbers, others: Numbers) -> Mask:
            other_topics = (topics[rows] != topics[others]) & (topics[rows] > 0) & (topics[others] > 0)
            different: Mask = (root[rows] != root[others]) & ~other_topics
            return different

        for rows, others in near.pairs(apart, with_one_answer):
            _join(root, rows.tolist(), others.tolist())
        return root


def clusters(texts: Iterable[str], topics: Iterable[str] = repeat("")) -> list[int]:
    """For each text the place of the first one that says the same; see `Asked`."""
    asked = Asked()
    for text, topic in zip(texts, topics, strict=False):
        asked.add(text, topic=topic)
    found: list[int] = asked.clusters().tolist()
    return found


def _join(root: Numbers, rows: list[int], others: list[int]) -> None:
    """Brings pairs together; afterwards each place of `root` has the first of all that it is together with."""

    def find(place: int) -> int:
        while root[place] != place:
            root[place] = place = int(root[root[place]])
        return place

    for row, other in zip(rows, others, strict=True):
        low, high = sorted((find(row), find(other)))
        root[high] = low
    while True:
        above = root[root]
        if np.array_equal(above, root):
            return
        root[:] = above


def _batches(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(count, start + size))
