"""Names of people in text, found by Microsoft Presidio: the extra `names` brings it.

Names have no form and no check digit, so a model has to find them, which misses some and finds some that are none.
"""

from __future__ import annotations

from collections.abc import Sequence

from ragft.data.personal import Finder, Found
from ragft.errors import MissingDependency

SURE = 0.6
"""Least score of what counts as a name; spaCy's own entities have 0.85 in Presidio."""


def names_in(language: str = "en") -> Finder:
    """Finds names of people.

    Raises:
        MissingDependency: Presidio, or the spaCy model that it needs, is not installed.
    """
    try:
        from presidio_analyzer import AnalyzerEngine

        engine = AnalyzerEngine(supported_languages=[language])
    except (ImportError, OSError, SystemExit) as error:
        raise MissingDependency(
            f"Names of people are found by Presidio with a spaCy model ({error}): install ragft[names] and "
            "`python -m spacy download en_core_web_lg`, or leave `name` out of data.personal."
        ) from None

    def find(text: str) -> Sequence[Found]:
        results = engine.analyze(text=text, language=language, entities=["PERSON"], score_threshold=SURE)
        return [Found("name", one.start, one.end, text[one.start : one.end].casefold()) for one in results]

    return find
