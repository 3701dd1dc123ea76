"""Where an answer stands: the passages of its sources, with the sentence that supports it best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from index.documents.chunking import Chunk
from ragft.citations import without_citations
from ragft.data.gold import Located, located
from ragft.data.questions import Question
from ragft.evaluate.metrics.base import Rules
from ragft.evaluate.metrics.grounding import Grounding, ground
from ragft.review.items import Item


@dataclass(frozen=True)
class Shown:
    """A passage as it is shown.

    Attributes:
        source: as the item names it.
        pieces: its text, cut where it is marked: (text, whether it is the evidence).
    """

    source: str
    pieces: tuple[tuple[str, bool], ...]

    @property
    def evidence(self) -> str:
        """What is marked; empty where nothing is."""
        return "".join(text for text, marked in self.pieces if marked)


@dataclass(frozen=True)
class Support:
    """The passages of an item.

    Attributes:
        remark: what is to be said of them, in sentences; may be empty.
    """

    passages: tuple[Shown, ...]
    remark: str


class Passages:
    """The passages that items name as their sources, looked up in an index once."""

    def __init__(self, items: Sequence[Item], chunks: Iterable[Chunk] | None, rules: Rules) -> None:
        """`chunks` are all that the index holds; None: there is no index."""
        self._rules = rules
        self._located: Located | None = None
        if chunks is not None:
            asked = [Question(one.key, one.question, tuple(one.answers), one.sources, True) for one in items]
            self._located = located(asked, chunks)

    def of(self, item: Item) -> Support:
        """The passages of an item, with its evidence marked."""
        if not item.sources:
            return Support((), "It names no source.")
        if self._located is None:
            named = tuple(Shown(source, ()) for source in item.sources)
            return Support(named, "There is no index to look the sources up in: build it with `ragft index build`.")
        groups = zip(item.sources, self._located.passages[item.key], strict=True)
        texts = [(source, text) for source, passages in groups for text in passages]
        found = self._evidence(item, [text for _, text in texts])
        shown = tuple(
            Shown(source, _pieces(text, found.sentence if found and found.passage == number else None))
            for number, (source, text) in enumerate(texts, start=1)
        )
        remarks = [f"The index does not hold {source!r}." for source in self._located.absent.get(item.key, ())]
        remarks += [
            f"{source!r} may mean several sections." for source in item.sources if source in self._located.unclear
        ]
        if found is not None and found.grounded != "true":
            doubt = "Words alone cannot tell whether they support the answer" if found.grounded == "unsure" else (
                "They do not seem to support the answer")  # fmt: skip
            remarks.append(f"{doubt}: {found.reason}")
        return Support(shown, " ".join(remarks))

    def _evidence(self, item: Item, texts: Sequence[str]) -> Grounding | None:
        """What supports the answer; of several wordings of it the first that is found."""
        # [n] cites a source, which may be several passages: each of them may hold the answer.
        answers = (without_citations(answer) for answer in item.answers)
        found = [one for answer in answers if (one := ground(answer, item.question, texts, self._rules)) is not None]
        return next((one for one in found if one.grounded == "true"), next(iter(found), None))


def _pieces(text: str, sentence: str | None) -> tuple[tuple[str, bool], ...]:
    start = text.find(sentence) if sentence else -1
    if not sentence or start < 0:
        return ((text, False),)
    end = start + len(sentence)
    cut = ((text[:start], False), (text[start:end], True), (text[end:], False))
    return tuple(piece for piece in cut if piece[0])
