"""What is known of a group of questions, as columns in one order."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragft.data.audit.texts import language_of
from ragft.data.near import plain_words

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """A group of questions.

    Attributes:
        questions: as they were asked.
        units: of which user or conversation each is; each of the evaluation's is its own.
        kin: questions that say the same by intention, such as those of one `group`; elsewhere the units.
        vectors: (n, dimension) of unit length.
        scores: (n,) of the best passage; NaN where there is none.
        refused, ungrounded: (n,) 1 where the answer is; NaN where that is not known.
    """

    questions: tuple[str, ...]
    units: tuple[Hashable, ...]
    kin: tuple[Hashable, ...]
    vectors: Floats
    scores: Floats
    refused: Floats
    ungrounded: Floats

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def unit_count(self) -> int:
        """How many users or conversations there are."""
        return len(set(self.units))

    def lengths(self) -> Floats:
        """(n,) words of each question."""
        return np.array([len(question.split()) for question in self.questions], dtype=np.float64)

    def languages(self) -> NDArray[np.int64]:
        """(n,) the language of each question as the audit of examples tells it; 0 where it cannot be told."""
        return np.array([language_of(one, plain_words(one)) for one in self.questions], dtype=np.int64)
