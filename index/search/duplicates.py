"""Finds passages that repeat others, word for word or nearly so.

Word for word: the same words, whatever their case and white space. What a short text means depends on its headings
(`Support ended: 2027`), so it is a repetition only under the same headings; a long text speaks for itself. Only such
passages are collapsed, because a near repetition may differ in exactly the number that was asked for.

Nearly so: the sets of three-word shingles of both texts have a high Jaccard similarity. The pairs are found exactly, by
the prefix filter of set similarity joins (Chaudhuri et al., 2006): two similar sets share one of their few rarest
members, so only passages that do are compared. Unlike MinHash, that misses nothing and has no hash family to tune.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from index.documents.chunking import Chunk

SPEAKS_FOR_ITSELF = 20
"""Number of words from which a text means the same under any heading."""

NEAR = 0.9
"""Least Jaccard similarity of near repetitions."""

_RUN = 3
"""Number of words in a shingle."""

_LEAST_WORDS = 12
"""Fewest words of a text that is compared for near repetition; one word of a shorter text is too large a part."""

_MOST_COMPARED = 64
"""Number of passages with the same rare shingle that a passage is compared with: the nearest ones before it."""

_WORD = re.compile(r"\w+")

Shingles = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Group:
    """Passages that repeat each other.

    Attributes:
        chunk_ids: at least two, in the order of document and position.
        similarity: 1.0 if they repeat each other word for word, else the smallest similarity that joined two of them.
    """

    chunk_ids: tuple[str, ...]
    similarity: float


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Groups of passages that repeat each other word for word, and of passages that nearly do.

    A group of `exact` is represented in `near` by its first passage.
    """

    exact: tuple[Group, ...]
    near: tuple[Group, ...]

    @property
    def superfluous(self) -> int:
        """Number of passages that repeat an earlier one word for word."""
        return sum(len(group.chunk_ids) - 1 for group in self.exact)


def passage_key(heading_path: Sequence[str], text: str) -> bytes:
    """A digest (32 bytes) that is equal for passages that repeat each other word for word."""
    body = _normal(text)
    if len(_WORD.findall(body)) < SPEAKS_FOR_ITSELF:
        body = "\0".join([*(_normal(heading) for heading in heading_path), body])
    return bytes(blake3(body.encode()).digest())


def find_duplicates(chunks: Iterable[Chunk], near: float = NEAR) -> Duplicates:
    """The repetitions among chunks in the order of document and position, in the order of their first chunks.

    `near` is the least similarity of near repetitions, above 0.5 and at most 1.
    """
    groups: dict[bytes, list[str]] = {}
    texts: list[str] = []
    for chunk in chunks:
        same = groups.setdefault(passage_key(chunk.heading_path, chunk.text), [])
        if not same:
            texts.append(chunk.text)
        same.append(chunk.id)
    exact = tuple(Group(tuple(ids), 1.0) for ids in groups.values() if len(ids) > 1)
    firsts = [ids[0] for ids in groups.values()]
    return Duplicates(exact, tuple(_near_groups(firsts, _all_shingles(texts), near)))


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _all_shingles(texts: Iterable[str]) -> list[Shingles]:
    """The distinct shingles of each text as hashes, sorted: (shingles,) uint64 each, empty for a short text.

    Among a few billion 64-bit hashes, two are equal by accident about as likely as not.
    """
    numbers: dict[str, int] = {}
    factors = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)
    found = []
    for text in texts:
        words = _WORD.findall(_normal(text))
        if len(words) < _LEAST_WORDS:
            found.append(np.empty(0, dtype=np.uint64))
            continue
        ids = np.array([numbers.setdefault(word, len(numbers) + 1) for word in words], dtype=np.uint64)
        runs = np.zeros(len(words) - _RUN + 1, dtype=np.uint64)
        for place, factor in enumerate(factors):
            mixed = (ids[place : place + len(runs)] + np.uint64(place)) * factor
            runs = (runs ^ (mixed ^ (mixed >> np.uint64(29)))) * np.uint64(0xBF58476D1CE4E5B9)
        found.append(np.unique(runs))
    return found


def _near_groups(names: Sequence[str], shingles: Sequence[Shingles], near: float) -> list[Group]:
    """Passages joined, directly or through others, by a similarity of at least `near`."""
    parents = list(range(len(names)))
    weakest: dict[int, float] = {}

    def root(number: int) -> int:
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    for first, second in _candidates(shingles, near):
        shared = len(np.intersect1d(shingles[first], shingles[second], assume_unique=True))
        similarity = shared / (len(shingles[first]) + len(shingles[second]) - shared)
        if similarity >= near:
            # The earlier one stays the root, so that groups come in the order of their first members.
            one, other = sorted((root(first), root(second)))
            weakest[one] = min(weakest.get(one, 1.0), weakest.get(other, 1.0), similarity)
            parents[other] = one
    members: dict[int, list[str]] = defaultdict(list)
    for number, name in enumerate(names):
        members[root(number)].append(name)
    return [Group(tuple(ids), round(weakest[one], 4)) for one, ids in sorted(members.items()) if len(ids) > 1]


def _candidates(shingles: Sequence[Shingles], near: float) -> list[tuple[int, int]]:
    """Distinct pairs of passages that may be similar enough, sorted.

    A set of n shingles with a similarity of `near` to another shares at least `near * n` of them, and so at least one
    of its `n - near * n + 1` rarest. Rarity is one order for all sets, so the shared one is rare in both.
    """
    if not any(len(runs) for runs in shingles):
        return []
    values, counts = np.unique(np.concatenate(shingles), return_counts=True)
    holders: dict[int, list[int]] = defaultdict(list)
    for number, runs in enumerate(shingles):
        if len(runs):
            keep = len(runs) - int(np.ceil(near * len(runs))) + 1
            place = np.searchsorted(values, runs)
            rarest = np.lexsort((runs, counts[place]))[:keep]
            shared = place[rarest][counts[place[rarest]] > 1]
            for value in shared.tolist():
                holders[value].append(number)
    pairs: set[tuple[int, int]] = set()
    for numbers in holders.values():
        for at, number in enumerate(numbers):
            for other in numbers[max(0, at - _MOST_COMPARED) : at]:
                if near * len(shingles[number]) <= len(shingles[other]) <= len(shingles[number]) / near:
                    pairs.add((other, number))
    return sorted(pairs)
