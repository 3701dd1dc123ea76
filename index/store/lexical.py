"""Lexical search: BM25 over the words, names and version numbers of the passages.

Postings are written once for each segment. What BM25 needs to know of the whole collection (how many passages hold a
term, how long they are on average) is counted over the live rows of all segments, so an index with a long history
ranks exactly like one that was built at once.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, count
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import Stemmer

Live = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float64]

TOKENIZER_VERSION = 2
"""To be raised whenever a text gives other terms: postings of another version do not match the queries."""

K1 = 0.9
B = 0.4
"""The defaults of Anserini, the field's reference for BM25; on SciFact's training queries better than Lucene's 1.2 and
0.75 (benchmarks/scifact.py --tune). Passages are about equally long, so their length should count little."""

HEADING_WEIGHT = 2
"""How often a word of the title or a heading counts; 1, 2 and 3 were compared on SciFact's training queries."""

# English words that say nothing about a topic. They are indexed, but looked for only if a query has no others.
_STOP_WORDS = """
a about after again all also am an and any are as at be because been being below between both but by can could did do
does doing down during each few for from further had has have having he her here hers him his how i if in into is it its
itself just me more most my no nor not now of off on once only or other our out over own same she should so some such
than that the their them then there these they this those through to too under until up very was we were what when where
which while who whom why will with would you your
"""

# A word of any script, with the punctuation that holds names together (node.js, 8.0.36, x86_64, key-value)
# and the pluses and sharps that some names end with (c++, c#).
_TERM = re.compile(r"[^\W_]+(?:[._+#'’/-]+[^\W_]+)*(?:\+\+|#)?", re.UNICODE)
_PART = re.compile(r"(?:\bv)?(\d+(?:\.\d+)+)|([^\W_]+)", re.UNICODE)
_HAS_LETTER = re.compile(r"[^\W\d_]", re.UNICODE)
# What marks a compound as a name; words that a hyphen or a slash joins are only words.
_OF_A_NAME = re.compile(r"[\d._+#]")


class _Stemmers(threading.local):  # because threads must not share a stemmer
    def __init__(self) -> None:
        self.english = Stemmer.Stemmer("english")


_stemmers = _Stemmers()


def tokenize(text: str) -> list[str]:
    """The terms of a text, in order.

    Words are stemmed as English: `releases` and `released` are one term. Words joined by a hyphen, a slash or an
    apostrophe are separate terms. A name, which is a compound with digits, dots, underscores, pluses or sharps, is a
    term, and so are its parts (`node.js`: `node.js`, `node`, `js`). A version number is never split, because its digits
    alone match everything (`v8.0-beta`: `v8.0-beta`, `8.0`, `beta`).
    """
    return [term for word in _words(text) for term in _terms(word)]


def _words(text: str) -> list[str]:
    """The text split at white space, which no term spans."""
    return text.lower().replace("’", "'").split()


def _terms(word: str) -> Sequence[str]:
    if word.isalnum():  # nearly all words are, and the pattern would match them whole
        return _stems(word)
    return [stem for term in _TERM.findall(word) for stem in _stems(term)]


@lru_cache(maxsize=1 << 16)
def _stems(term: str) -> tuple[str, ...]:
    """The terms that a compound or word counts as; cached, because words repeat."""
    term = term.removesuffix("'s")
    parts = [version or word for version, word in _PART.findall(term)] if _HAS_LETTER.search(term) else [term]
    stems = tuple(_stemmers.english.stemWords(parts))
    if parts == [term]:
        return stems
    name = (term,) if _OF_A_NAME.search(term) else ()
    return (*name, *stems) if len(parts) > 1 or len(parts[0]) < len(term.rstrip("+#")) else name


def query_terms(query: str) -> list[str]:
    """The terms to look for, sorted, each once; without stop words, unless there are no others."""
    terms = set(tokenize(query))
    return sorted(terms - _STOP_TERMS or terms)


_STOP_TERMS = frozenset(tokenize(_STOP_WORDS))


def _weighted_words(passage: str) -> list[str]:
    heading, end_of_line, body = passage.partition("\n")
    return _words(heading) * (HEADING_WEIGHT if end_of_line else 1) + _words(body)


@dataclass(frozen=True)
class Postings:
    """Which rows of a segment hold which terms.

    Attributes:
        text: (bytes,) uint8, UTF-8 of the distinct terms, sorted, one on each line.
        starts: (terms + 1,) int64; the postings of term `t` are `starts[t]:starts[t + 1]`.
        rows: (postings,) int32, ascending within a term.
        counts: (postings,) int32, how often the row holds the term.
        lengths: (rows,) int32, number of terms in each row.
    """

    text: npt.NDArray[np.uint8]
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
    def build(cls, passages: Sequence[str]) -> Postings:
        """Index passages; the first passage is row 0.

        The first of several lines, which holds the title and the headings, counts `HEADING_WEIGHT` times.
        """
        # Each distinct word is looked at once, and arrays do the rest: three times as fast as a Python loop over every
        # word of every passage.
        words = [_weighted_words(passage) for passage in passages]
        row_of_word = np.repeat(np.arange(len(passages)), [len(found) for found in words])
        distinct, word = _numbered(chain.from_iterable(words), len(row_of_word))
        terms_of = [_terms(item) for item in distinct]
        per_word = np.array([len(found) for found in terms_of], dtype=np.int64)
        unsorted, term = _numbered(chain.from_iterable(terms_of), int(per_word.sum()))
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
        return cls(_lines(vocabulary), starts, *(column.astype(np.int32) for column in (rows, counts, lengths)))

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
        columns: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]] = []
        for postings, target in parts:
            kept = target >= 0
            lengths[target[kept]] = postings.lengths[kept]
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
        return cls(text, _starts(sizes[used]), row.astype(np.int32), count[order].astype(np.int32), lengths)

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


_ARRAYS = ("text", "starts", "rows", "counts", "lengths")


def _numbered(items: Iterable[str], size: int) -> tuple[dict[str, int], npt.NDArray[np.int64]]:
    """The distinct items, numbered in order of appearance, and the number of each item: (size,) int64."""
    number: dict[str, int] = defaultdict(count().__next__)
    return number, np.fromiter(map(number.__getitem__, items), np.int64, size)


def _lines(terms: Sequence[str]) -> npt.NDArray[np.uint8]:
    return np.frombuffer("\n".join(terms).encode(), dtype=np.uint8)


def _starts(sizes: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes, dtype=np.int64)])


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

    def scores(self, query: str, k1: float = K1, b: float = B) -> Scores:
        """BM25 (Robertson and Zaragoza, 2009) of every row, segment after segment.

        (rows,) float64, 0 where no term occurs or the row is removed. A term that the query repeats counts once.

        Args:
            k1: term saturation; 0 ignores how often a term occurs in a row.
            b: length normalisation, from 0 to 1; 0 ignores the length of a row.
        """
        scores = np.zeros(int(self._offsets[-1]), dtype=np.float64)
        # Terms are summed in one order, so that equal passages get equal scores to the last bit.
        for term in query_terms(query):
            found = [self._postings_of(term, number) for number in range(len(self._segments))]
            rows = np.concatenate([rows for rows, _ in found])
            if not len(rows):
                continue
            counts = np.concatenate([counts for _, counts in found]).astype(np.float64)
            idf = np.log(1 + (self._live_count - len(rows) + 0.5) / (len(rows) + 0.5))
            norms = k1 * (1 - b + b * self._relative_lengths[rows])
            scores[rows] += idf * counts * (k1 + 1) / (counts + norms)
        return scores

    def _postings_of(self, term: str, number: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Live rows of a segment that hold the term, counted over all segments, and how often each holds it."""
        postings, live = self._segments[number]
        place = postings.places.get(term)
        if place is None:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32)
        span = slice(int(postings.starts[place]), int(postings.starts[place + 1]))
        rows = postings.rows[span]
        kept = live[rows]
        return rows[kept].astype(np.int64) + self._offsets[number], postings.counts[span][kept]
