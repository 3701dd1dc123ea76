"""Lexical search: BM25 over the terms of the passages (see `index.store.terms`).

Postings are written once for each segment. What BM25 needs to know of the whole collection (how many passages hold a
term, how long they are on average) is counted over the live rows of all segments, so an index with a long history
ranks exactly like one that was built at once.

A passage is found by its own language's terms: of each word of a query, its stem in that language. What a word's stems
find in all languages together is how rare the word is, so that passages of several languages can be ranked together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import chain, count
from math import log
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from index.store.languages import LANGUAGES, Codes, code_of, languages_of
from index.store.terms import AUTO, content_words, query_terms, terms_of, words_of

Live = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float64]

K1 = 0.9
B = 0.4
"""The defaults of Anserini, the field's reference for BM25; on SciFact's training queries better than Lucene's 1.2 and
0.75 (benchmarks/scifact.py --tune). Passages are about equally long, so their length should count little."""

HEADING_WEIGHT = 2
"""How often a word of the title or a heading counts; 1, 2 and 3 were compared on SciFact's training queries."""


def _weighted_words(passage: str) -> list[str]:
    heading, end_of_line, body = passage.partition("\n")
    return words_of(heading) * (HEADING_WEIGHT if end_of_line else 1) + words_of(body)


@dataclass(frozen=True)
class Postings:
    """Which rows of a segment hold which terms.

    Attributes:
        text: (bytes,) uint8, UTF-8 of the distinct terms, sorted, one on each line.
        languages: (rows,) uint8, place in `LANGUAGES` of the language that each row's words are stemmed in.
        starts: (terms + 1,) int64; the postings of term `t` are `starts[t]:starts[t + 1]`.
        rows: (postings,) int32, ascending within a term.
        counts: (postings,) int32, how often the row holds the term.
        lengths: (rows,) int32, number of terms in each row.
    """

    text: npt.NDArray[np.uint8]
    languages: Codes
    starts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int32]

    @cached_property
    def terms(self) -> list[str]:
        """The terms, sorted; decoded only when used, because a refresh seldom needs those of old segments."""
        return self.text.tobytes().decode().split("\n") if len(self.text) else []

    @cached_property
    def places(self) -> dict[str, int]:
        return {term: place for place, term in enumerate(self.terms)}

    @classmethod
    def build(cls, passages: Sequence[str], documents: Sequence[str] | None = None, language: str = AUTO) -> Postings:
        """Index passages; the first passage is row 0.

        The first of several lines, which holds the title and the headings, counts `HEADING_WEIGHT` times.

        Args:
            documents: which document each passage is from, by id: one is written in one language. None: each passage
                is a document.
            language: see `index.store.terms.Analysis`.
        """
        # Each distinct word is looked at once, and arrays do the rest: three times as fast as a Python loop over every
        # word of every passage.
        words = [_weighted_words(passage) for passage in passages]
        row_of_word = np.repeat(np.arange(len(passages)), [len(found) for found in words])
        distinct, word = _numbered(chain.from_iterable(words), len(row_of_word))
        spelt = list(distinct)
        if language == AUTO:
            ids = map(str, range(len(passages))) if documents is None else documents
            names, document = _numbered(ids, len(passages))
            languages = languages_of(spelt, word, document[row_of_word], len(names))[document]
        else:
            languages = np.full(len(passages), code_of(language), dtype=np.uint8)
        word, terms_of_word = _in_languages(spelt, word, languages[row_of_word])
        per_word = np.array([len(found) for found in terms_of_word], dtype=np.int64)
        unsorted, term = _numbered(chain.from_iterable(terms_of_word), int(per_word.sum()))
        vocabulary = sorted(unsorted)
        place = np.empty(len(vocabulary), dtype=np.int64)
        place[[unsorted[item] for item in vocabulary]] = np.arange(len(vocabulary))
        # A word has one term, several or none; `term` lists those of the first word first, and so on.
        repeats = per_word[word]
        rows = np.repeat(row_of_word, repeats)
        first = np.repeat(_starts(per_word)[word] - _starts(repeats)[:-1], repeats)
        terms = place[term[first + np.arange(len(rows))]]
        # One number for each pair of term and row, so that the pairs can be sorted and counted.
        pairs, counts = np.unique(terms * len(passages) + rows, return_counts=True)
        lengths = np.bincount(rows, minlength=len(passages))
        terms, rows = np.divmod(pairs, max(len(passages), 1))
        starts = _starts(np.bincount(terms, minlength=len(vocabulary)))
        narrow = (column.astype(np.int32) for column in (rows, counts, lengths))
        return cls(_lines(vocabulary), languages, starts, *narrow)

    @classmethod
    def merge(cls, parts: Sequence[tuple[Postings, npt.NDArray[np.int64]]]) -> Postings:
        """The postings of chosen rows of several segments.

        Each of the postings comes with a map from its rows to the new ones: (rows,) int64, -1 to leave a row out.
        Together the maps give every new row exactly once.
        """
        vocabulary = sorted(set().union(*(postings.terms for postings, _ in parts)))
        places = {term: place for place, term in enumerate(vocabulary)}
        size = sum(int((target >= 0).sum()) for _, target in parts)
        lengths = np.zeros(size, dtype=np.int32)
        languages = np.zeros(size, dtype=np.uint8)
        columns: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]] = []
        for postings, target in parts:
            kept = target >= 0
            lengths[target[kept]] = postings.lengths[kept]
            languages[target[kept]] = postings.languages[kept]
            place = np.array([places[term] for term in postings.terms], dtype=np.int64)
            place = np.repeat(place, np.diff(postings.starts))
            row = target[postings.rows]
            columns.append((place[row >= 0] * size + row[row >= 0], postings.counts[row >= 0]))
        pairs, count = (np.concatenate(column) for column in zip(*columns, strict=True))
        order = np.argsort(pairs, kind="stable")  # merges the parts, which are sorted already
        place, row = np.divmod(pairs[order], max(size, 1))
        sizes = np.bincount(place, minlength=len(vocabulary))
        used = np.flatnonzero(sizes)  # drops terms that only removed rows held
        text = _lines([vocabulary[place] for place in used])
        starts = _starts(sizes[used])
        return cls(text, languages, starts, row.astype(np.int32), count[order].astype(np.int32), lengths)

    def write(self, path: Path) -> None:
        """Write one Arrow IPC file, which can be mapped: one row with a list in each column."""
        arrays = [pa.array(getattr(self, name)) for name in _ARRAYS]
        ends = [pa.array([0, len(values)], type=pa.int64()) for values in arrays]
        table = pa.table(list(map(pa.LargeListArray.from_arrays, ends, arrays)), names=_ARRAYS)
        with path.open("wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)

    @classmethod
    def read(cls, path: Path) -> Postings:
        """Map a file that `write` wrote; raises ValueError, KeyError or OSError if it is missing or damaged."""
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        arrays = {name: table[name].chunk(0).values.to_numpy(zero_copy_only=True) for name in _ARRAYS}
        if len(arrays["starts"]) == 0 or arrays["starts"][-1] != len(arrays["rows"]):
            raise ValueError(f"the columns of {path} do not agree with each other")
        return cls(**arrays)


_ARRAYS = ("text", "languages", "starts", "rows", "counts", "lengths")


def _in_languages(
    vocabulary: Sequence[str], words: npt.NDArray[np.int64], languages: Codes
) -> tuple[npt.NDArray[np.int64], list[Sequence[str]]]:
    """The words numbered apart for each language that they occur in, and the terms of each of these numbers.

    Args:
        words: (n,) places in the vocabulary.
        languages: (n,) codes.
    """
    present = np.flatnonzero(np.bincount(languages, minlength=1))
    if len(present) < 2:
        return words, terms_of(vocabulary, LANGUAGES[present[0]]) if len(present) else []
    column = np.zeros(len(LANGUAGES), dtype=np.int64)
    column[present] = np.arange(len(present))
    pairs = words * len(present) + column[languages]
    occurs = np.bincount(pairs, minlength=len(vocabulary) * len(present)) > 0
    terms: list[Sequence[str]] = []
    number = np.zeros(len(occurs), dtype=np.int64)
    for place, code in enumerate(present):
        pairs_here = np.flatnonzero(occurs[place :: len(present)])
        number[pairs_here * len(present) + place] = len(terms) + np.arange(len(pairs_here))
        terms += terms_of([vocabulary[word] for word in pairs_here], LANGUAGES[code])
    return number[pairs], terms


def _numbered(items: Iterable[str], size: int) -> tuple[dict[str, int], npt.NDArray[np.int64]]:
    """The distinct items, numbered in order of appearance, and the number of each item: (size,) int64."""
    number: dict[str, int] = defaultdict(count().__next__)
    return number, np.fromiter(map(number.__getitem__, items), np.int64, size)


def _lines(terms: Sequence[str]) -> npt.NDArray[np.uint8]:
    return np.frombuffer("\n".join(terms).encode(), dtype=np.uint8)


def _starts(sizes: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes, dtype=np.int64)])


@dataclass(frozen=True, eq=False)
class Word:
    """A word of a text, no function word, with the passages that hold it.

    Attributes:
        text: as it is written.
        rows: (n,) int64, ascending; live rows, counted over all segments. Of a compound, the rows that hold all parts.
        share: of all live rows.
    """

    text: str
    rows: npt.NDArray[np.int64]
    share: float


@dataclass(frozen=True)
class Matched:
    """A term of a query that a row holds.

    Attributes:
        term: as it is indexed, a stem for example.
        language: of the row.
        score: what it adds to the BM25 of the row.
    """

    term: str
    language: str
    score: float


class Bm25:
    """BM25 over the live rows of several segments, counted at the first use; safe to use from several threads.

    Takes the postings of each segment, and its mask of live rows: (rows,) bool.
    """

    def __init__(self, segments: Sequence[tuple[Postings, Live]]) -> None:
        self._segments = list(segments)
        self._offsets = _starts([len(live) for _, live in self._segments])

    @cached_property
    def _live_count(self) -> int:
        return sum(int(live.sum()) for _, live in self._segments)

    @cached_property
    def _relative_lengths(self) -> Scores:
        """Lengths of all rows relative to the mean length of the live ones: (rows,) float64."""
        total = sum(int(postings.lengths[live].sum()) for postings, live in self._segments)
        mean = total / self._live_count if total else 1.0
        return np.concatenate([postings.lengths / mean for postings, _ in self._segments] or [np.zeros(0)])

    @cached_property
    def _languages(self) -> dict[str, int]:
        """The languages of the live rows, with their codes."""
        found = [np.bincount(postings.languages[live], minlength=len(LANGUAGES)) for postings, live in self._segments]
        return {LANGUAGES[code]: code for code in np.flatnonzero(np.sum(found, axis=0)).tolist()} if found else {}

    def scores(self, query: str, k1: float = K1, b: float = B) -> Scores:
        """BM25 (Robertson and Zaragoza, 2009) of every row, segment after segment.

        (rows,) float64, 0 where no term occurs or the row is removed. A term that the query repeats counts once.

        Args:
            k1: term saturation; 0 ignores how often a term occurs in a row.
            b: length normalisation, from 0 to 1; 0 ignores the length of a row.
        """
        scores = np.zeros(int(self._offsets[-1]), dtype=np.float64)
        # Terms are summed in one order, so that equal passages get equal scores to the last bit.
        for _, rows, parts in self._parts(query, k1, b):
            scores[rows] += parts
        return scores

    def told(self, query: str, rows: Sequence[int], k1: float = K1, b: float = B) -> list[tuple[Matched, ...]]:
        """For each of some rows what the terms of a query add to its score, the largest part first."""
        languages = {row: self._language_of(row) for row in rows}
        found: dict[int, list[Matched]] = {row: [] for row in rows}
        for terms, held, parts in self._parts(query, k1, b):
            for place in np.flatnonzero(np.isin(held, rows)).tolist():
                row = int(held[place])
                found[row].append(Matched(terms[languages[row]], languages[row], float(parts[place])))
        return [tuple(sorted(found[row], key=lambda one: (-one.score, one.term))) for row in rows]

    def _parts(self, query: str, k1: float, b: float) -> Iterator[tuple[dict[str, str], npt.NDArray[np.int64], Scores]]:
        """What each term of a query adds to the scores of the rows that hold it: its forms by language, rows, parts."""
        for terms in query_terms(query, list(self._languages)):
            found = [found for number in range(len(self._segments)) for found in self._postings_of(terms, number)]
            if not found:
                continue
            rows, counts = found[0] if len(found) == 1 else map(np.concatenate, zip(*found, strict=True))
            if not len(rows):
                continue
            idf = log(1 + (self._live_count - len(rows) + 0.5) / (len(rows) + 0.5))
            norms = k1 * (1 - b) + (k1 * b) * self._relative_lengths[rows]
            yield terms, rows, (idf * (k1 + 1)) * counts / (counts + norms)

    def _language_of(self, row: int) -> str:
        segment = int(np.searchsorted(self._offsets, row, side="right")) - 1
        return LANGUAGES[int(self._segments[segment][0].languages[row - self._offsets[segment]])]

    def words(self, text: str) -> list[Word]:
        """The words of a text but for function words, in order, with where they stand."""
        found = []
        for word, groups in content_words(text, list(self._languages)):
            rows = reduce(np.intersect1d, [self._rows_of(terms) for terms in groups])
            found.append(Word(word, rows, len(rows) / max(1, self._live_count)))
        return found

    def _rows_of(self, terms: Mapping[str, str]) -> npt.NDArray[np.int64]:
        """Live rows that hold a word, ascending; `terms` as for `_postings_of`."""
        found = [rows for number in range(len(self._segments)) for rows, _ in self._postings_of(terms, number)]
        if len(found) == 1:
            return found[0]
        return np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)

    def _postings_of(
        self, terms: Mapping[str, str], number: int
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]]:
        """Live rows of a segment that hold the term of their language, and how often each holds it.

        Rows are counted over all segments. `terms` are those of one word, by language.
        """
        postings, live = self._segments[number]
        for term in sorted(set(terms.values())):
            place = postings.places.get(term)
            if place is None:
                continue
            span = slice(int(postings.starts[place]), int(postings.starts[place + 1]))
            rows = postings.rows[span]
            kept = live[rows]
            if any(terms.get(language) != term for language in self._languages):
                is_in = np.zeros(len(LANGUAGES), dtype=np.bool_)
                is_in[[code for language, code in self._languages.items() if terms.get(language) == term]] = True
                kept &= is_in[postings.languages[rows]]
            yield rows[kept].astype(np.int64) + self._offsets[number], postings.counts[span][kept]
