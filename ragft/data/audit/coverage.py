"""A map of the documents by meaning, and where on it examples and questions are, and are not.

Passages are divided into clusters by their vectors in the index. An example or a question is where its sources are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from index.store.snapshot import Snapshot
from ragft.console import Findings, counted, some
from ragft.data.questions import Question
from ragft.data.sources import Source

_SAMPLE, _READ = 50_000, 8192
_MOST_CLUSTERS = 60
_SCARCE = 0.25
"""Share of the examples per passage of the whole, below which a cluster is hardly covered."""


@dataclass(frozen=True)
class Cluster:
    """Passages that are about one thing.

    Attributes:
        title: the titles or headings that most of its passages stand under.
        examples, questions: how many have a source there.
        uncovered: sources, as examples name them, without an example; the first few of the cluster.
        x, y: its place on the map, from 0 to 1; what is close in meaning is close there, as far as two axes can show.
    """

    title: str
    passages: int
    examples: int
    questions: int
    uncovered: tuple[str, ...]
    x: float
    y: float


@dataclass(frozen=True)
class Coverage:
    """The map.

    Attributes:
        clusters: the largest first.
        scarce: places of clusters with hardly an example for their size.
        unasked: places of clusters with examples and without questions.
        unplaced: examples without sources, or with sources that the index lacks.
        shown: share of the variance of the clusters' centres that the two axes of the map show.
    """

    clusters: tuple[Cluster, ...]
    scarce: tuple[int, ...]
    unasked: tuple[int, ...]
    unplaced: int
    shown: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def suggestions(self) -> list[str]:
        """What to write or generate next, in sentences, the largest gap first."""
        told = []
        for place in self.scarce:
            one = self.clusters[place]
            has = "no example" if not one.examples else counted(one.examples, "example")
            told.append(
                f"{one.title}: {has} for {counted(one.passages, 'passage')}. Write or generate some from "
                f"{some(one.uncovered) or 'its documents'}."
            )
        for place in self.unasked:
            one = self.clusters[place]
            told.append(
                f"{one.title}: {counted(one.examples, 'example')} and no question, so what they teach is not measured."
            )
        return told


def coverage_of(
    snapshot: Snapshot, examples: Mapping[Source, int], questions: Sequence[Question], seed: int
) -> Coverage:
    """The map of a snapshot.

    Args:
        examples: how many examples name each source.
        seed: of the clustering; the same index gives the same map.
    """
    order = snapshot.order
    if not len(order):
        return Coverage((), (), (), sum(examples.values()), 0.0)
    centres, of = _clustered(snapshot, order, seed)
    names, under = _headings(snapshot)
    asked = Counter(source for question in questions for source in question.sources)
    matched = _matches({*examples, *asked}, names)
    counts = np.zeros((2, len(centres)), dtype=np.int64)
    covered = np.zeros(len(names), dtype=np.bool_)
    clusters_of = _clusters_of_headings(under, of, len(names))
    unplaced = 0
    for kind, sources in enumerate((examples, asked)):
        for source, count in sources.items():
            places = matched[source]
            if kind == 0:
                covered[places] = True
                unplaced += 0 if places else count
            # A source of several passages may lie in several clusters: it counts in the one that has most of them.
            if places:
                votes = Counter(cluster for place in places for cluster in clusters_of[place])
                counts[kind, votes.most_common(1)[0][0]] += count
    spread, shown = _projected(centres)
    found = []
    for cluster in range(len(centres)):
        rows = np.flatnonzero(of == cluster)
        here = Counter(under[rows].tolist())
        open_here = [names[place] for place, _ in here.most_common() if not covered[place]]
        found.append(
            Cluster(
                _titled([names[place] for place, count in here.most_common() for _ in range(count)]), len(rows),
                int(counts[0, cluster]), int(counts[1, cluster]),
                tuple(_written(document, path) for document, path, _ in open_here[:5]), *spread[cluster],
            )
        )  # fmt: skip
    found.sort(key=lambda one: (-one.passages, one.title))
    return _judged(found, unplaced, shown)


def _judged(clusters: Sequence[Cluster], unplaced: int, shown: float) -> Coverage:
    passages, examples = sum(one.passages for one in clusters), sum(one.examples for one in clusters)
    usual = examples / passages
    scarce = [at for at, one in enumerate(clusters) if one.examples < max(1.0, _SCARCE * usual * one.passages)]
    unasked = [at for at, one in enumerate(clusters) if one.examples and not one.questions]
    if not any(one.questions for one in clusters):
        unasked = []
    return Coverage(tuple(clusters), tuple(scarce), tuple(unasked), unplaced, shown)


_Heading = tuple[str, tuple[str, ...], str]


def _headings(snapshot: Snapshot) -> tuple[list[_Heading], npt.NDArray[np.int64]]:
    """Document, path of headings and title of every section, and for each chunk in order the place of its section."""
    numbers: dict[_Heading, int] = {}
    under = [
        numbers.setdefault((chunk.document_id, chunk.heading_path, chunk.title), len(numbers))
        for chunk in snapshot.chunks()
    ]
    return list(numbers), np.array(under, dtype=np.int64)


def _matches(sources: Iterable[Source], names: Sequence[_Heading]) -> dict[Source, list[int]]:
    """The sections that each source names."""
    by_document: dict[str, list[int]] = {}
    for place, (document, _, _) in enumerate(names):
        by_document.setdefault(document, []).append(place)
    return {
        source: [
            place
            for document in source.documents
            for place in by_document.get(document, ())
            if source.matches(*names[place])
        ]
        for source in sources
    }


def _clusters_of_headings(under: npt.NDArray[np.int64], of: npt.NDArray[np.int64], count: int) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in range(count)]
    for place, cluster in zip(under.tolist(), of.tolist(), strict=True):
        found[place].append(cluster)
    return found


def _clustered(
    snapshot: Snapshot, order: npt.NDArray[np.int64], seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Centres of clusters (clusters, dimension), and for each chunk in order its cluster: spherical k-means."""
    import faiss

    library: Any = faiss  # its stubs describe the C++ signatures
    count = len(order)
    clusters = min(_MOST_CLUSTERS, max(1, round(math.sqrt(count / 2))))
    step = max(1, count // _SAMPLE)
    sample = _vectors(snapshot, order[::step])
    kmeans = library.Kmeans(
        sample.shape[1], clusters, niter=25, seed=seed % (1 << 31), spherical=True, min_points_per_centroid=1
    )
    kmeans.train(sample)
    of = [kmeans.index.search(_vectors(snapshot, order[at : at + _READ]), 1)[1][:, 0] for at in range(0, count, _READ)]
    return np.asarray(kmeans.centroids, dtype=np.float32), np.concatenate(of).astype(np.int64)


def _vectors(snapshot: Snapshot, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Vectors of rows counted over all segments: (rows, dimension)."""
    segments = np.searchsorted(snapshot.offsets, rows, side="right") - 1
    found: npt.NDArray[np.float32] | None = None
    for number in np.unique(segments).tolist():
        here = np.flatnonzero(segments == number)
        read = snapshot.segments[number].vectors.read(rows[here] - snapshot.offsets[number])
        found = np.zeros((len(rows), read.shape[1]), dtype=np.float32) if found is None else found
        found[here] = read
    return np.zeros((0, 1), dtype=np.float32) if found is None else found


def _projected(centres: npt.NDArray[np.float32]) -> tuple[list[tuple[float, float]], float]:
    """Places of centres on two principal axes, each from 0 to 1, and the share of the variance that they show."""
    moved = centres - centres.mean(axis=0)
    _, strengths, axes = np.linalg.svd(moved.astype(np.float64), full_matrices=False)
    flat = moved @ axes[:2].T.astype(np.float32)
    flat = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    # The sign of an axis is arbitrary: the same on every machine.
    flat *= np.where(flat[np.abs(flat).argmax(axis=0), range(2)] < 0, -1, 1)
    low, span = flat.min(axis=0), np.maximum(np.ptp(flat, axis=0), 1e-9)
    total = float((strengths**2).sum())
    shown = float((strengths[:2] ** 2).sum()) / total if total else 1.0
    places = ((flat - low) / span).round(4).tolist()
    return [(float(x), float(y)) for x, y in places], round(shown, 4)


def _titled(sections: Sequence[_Heading]) -> str:
    """What most sections are called: titles of documents, or headings where one document has most of them."""
    titles = Counter(title or document for document, _, title in sections)
    first, count = titles.most_common(1)[0]
    if count < 0.7 * len(sections):
        return ", ".join(title for title, _ in titles.most_common(3))
    own = Counter(path[-1] for _, path, title in sections if (title or "") == first or not title if path)
    named = [heading for heading, _ in own.most_common(3) if heading != first]
    return f"{first}: {', '.join(named[:2])}" if named else first


def _written(document: str, path: Sequence[str]) -> str:
    return f"{document}#{path[-1]}" if path else document


def coverage_findings(findings: Findings, found: Coverage | str) -> None:
    """Adds what the map shows; a text says why there is none."""
    if isinstance(found, str):
        findings.add("note", "coverage", found)
        return
    told = f"{len(found.clusters)} clusters of passages"
    if found.unplaced:
        told += f"; {counted(found.unplaced, 'source')} of examples not in the index"
    for places, what in ((found.scarce, "with hardly an example"), (found.unasked, "with examples and no question")):
        if places:
            told += f"; {len(places)} {what}: {some((found.clusters[place].title for place in places), 2)}"
    findings.add("note" if found.scarce or found.unasked else "ok", "coverage", told)
