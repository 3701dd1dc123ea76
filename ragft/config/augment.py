"""`data.augment`: further examples, whose questions are asked in other words or with slips."""

from __future__ import annotations

from pydantic import Field

from ragft.config.section import Section, Share


class AugmentSection(Section):
    """How `ragft data augment` asks the questions of examples in other words. Each share is one of the examples, of
    which so many get a further row of the kind."""

    typos: Share = Field(0.1, description="Share with letters exchanged, left out, doubled or replaced.")
    keyboard: Share = Field(0.05, description="Share with keys beside the right ones.")
    case: Share = Field(0.05, description="Share with words in capitals.")
    deletion: Share = Field(0.0, description="Share without one of the small words that say little.")
    insertion: Share = Field(0.0, description="Share with such a word too many.")
    synonyms: Share = Field(
        0.0, description="Share with a word replaced by a synonym of `wordnet`, which ragft[synonyms] reads."
    )
    paraphrase: Share = Field(0.0, description="Share in other words, by the model of `data.generate`.")
    back_translation: Share = Field(
        0.0, description="Share translated into one of `pivots` and back, by the model of `data.generate`."
    )
    contextual: Share = Field(
        0.0, description="Share with a word replaced by another that fits there, by the model of `data.generate`."
    )
    wordnet: str = Field(
        "oewn:2024", description="The wordnet, as the package wn names it; `python -m wn download NAME` brings it."
    )
    language: str = Field("English", description="Language of the questions, into which translations come back.")
    pivots: tuple[str, ...] = Field(
        ("German", "French", "Spanish"), min_length=1, description="Languages that are translated into and back."
    )
    max_tokens: int = Field(120, ge=16, description="Longest reply of the model, in tokens.")
