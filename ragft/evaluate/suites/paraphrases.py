"""Questions in other words: those that their author gives, else by rules that keep the meaning.

The rules are of English. A question becomes an order ("What is the newest release?", "Give me the newest release.") and
an order a question where that takes no grammar; words of a small table become synonyms; and what neither changes is
asked politely. Pure functions.
"""

from __future__ import annotations

import random
import re

from ragft.data.answers import text_of
from ragft.data.questions import Question

SYNONYMS = (
    ("latest", "newest"), ("allowed", "permitted"), ("begins", "starts"), ("happens", "occurs"), ("yearly", "annual"),
    ("mandatory", "compulsory"), ("entire", "whole"), ("telephone", "phone"),
)  # fmt: skip
"""Words either of which may stand for the other."""

FRAMES = ("Please answer this: {}", "Here is my question: {}", "Can you help me? {}", "{} Thank you.")
"""What stands around a question that no other rule changes."""

_ENGLISH = frozenset([
    "what", "which", "who", "whom", "whose", "when", "where", "why", "how", "does", "did", "the", "should", "would",
    "could",
])  # fmt: skip
_ALSO_ENGLISH = frozenset([
    "is", "are", "was", "were", "do", "can", "may", "must", "will", "has", "have", "still", "on", "for", "to", "by",
    "there", "any", "a", "it", "i", "we", "me",
])  # fmt: skip
"""A question is taken for English by one of the first words, or by two of these, which other languages have, too."""

_WHAT_IS = re.compile(r"What (?:is|are) ((?:the|its|their|our|your) [^?]+)\?")
_ORDER = re.compile(r"(Give me|Tell me|Name|List|State) ((?:the|its|their|our|your) [^.?!]+)\.?")
_SYNONYM = {word: other for pair in SYNONYMS for word, other in (pair, pair[::-1])}
_WORDS = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, _SYNONYM))})(?![\w-])")


def paraphrase(question: Question, seed: int) -> str | None:
    """The question in other words; None where it has none of its own and is not English.

    Of several that its author gives one is drawn.
    """
    draw = random.Random(f"{seed}\0paraphrase\0{question.id}")
    if question.paraphrases:
        return draw.choice(question.paraphrases)
    asked = question.question.strip()
    words = frozenset(re.findall(r"[^\W\d_]+", asked.lower()))
    if not words & _ENGLISH and len(words & _ALSO_ENGLISH) < 2:
        return None
    kept = frozenset(word for answer in (*question.answers, *question.stale_answers) for word in text_of(answer).words)
    reworded = _WORDS.sub(lambda found: found[0] if found[0] in kept else _SYNONYM[found[0]], _turned(asked))
    return reworded if reworded != asked else draw.choice(FRAMES).format(asked)


def _turned(asked: str) -> str:
    """A question as an order, an order as a question; what is neither, or several sentences, stays as it is."""
    if found := _WHAT_IS.fullmatch(asked):
        return f"Give me {found[1]}."
    if found := _ORDER.fullmatch(asked):
        return f"Could you {found[1].lower()} {found[2]}?"
    return asked
