"""Turns text into the terms that lexical search compares, in any language.

A text is split into parts that do not depend on its language: letters are brought to one form, names and versions stay
whole, scripts without spaces between words become pairs of neighbouring characters. The language then decides only how
a part is stemmed, and which words of a query say nothing.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise
from typing import Literal, NamedTuple

import regex
import Stemmer

from index.store.languages import FUNCTION_WORDS, LANGUAGES

TERMS_VERSION = 3
"""To be raised whenever a text gives other terms or another language: postings of another version do not match the
queries, and are written anew."""

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Analysis:
    """How passages became terms. Postings of one analysis are never searched with the terms of another.

    Attributes:
        language: `auto`: told for each document; `none`: words are not stemmed; or one of `LANGUAGES` for all.
        version: of the rules in this module.

    Raises:
        ValueError: the language is not known.
    """

    language: str = AUTO
    version: int = TERMS_VERSION

    def __post_init__(self) -> None:
        if self.language != AUTO and self.language not in LANGUAGES:
            raise ValueError(f"language is {self.language!r}; choose auto or one of {', '.join(LANGUAGES)}")


class Part(NamedTuple):
    """A piece of a text that becomes one term, whatever the language.

    Attributes:
        kind: a word is stemmed; what is exact or aside is not, and no query looks for what is aside.
    """

    text: str
    kind: Literal["word", "exact", "aside"]


# Scripts that put no spaces between words (Line_Break=SA: Thai, Lao, Khmer, Myanmar and others that need a dictionary),
# and Hangul, whose nouns carry their particles.
_AROUND_WORDS = "!\"$%&'()*,-./:;<=>?@[\\]^_`{|}~"
"""Punctuation that no term begins or ends with."""

_UNSPACED = r"[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Bopomofo}\p{Hangul}\p{LB=SA}]"
_LETTER = rf"[[[\p{{L}}\p{{N}}\p{{Mn}}\p{{Mc}}]--{_UNSPACED}]]"
# A word of any script, with the punctuation that holds names together (node.js, 8.0.36, x86_64, key-value)
# and the pluses and sharps that some names end with (c++, c#); or a run of a script without spaces.
_PIECE = regex.compile(
    rf"({_LETTER}+(?:[._+#'/-]+{_LETTER}+)*(?:\+\+|#)?)|((?:[{_UNSPACED}&&[\p{{L}}\p{{N}}\p{{Mn}}\p{{Mc}}]]\p{{M}}*)+)",
    regex.V1,
)
_WORD = re.compile(r"\S+")
_CHARACTER = regex.compile(r"\P{M}\p{M}*|\p{M}+")
# Scripts in which a single character often is a word, so that it is indexed beside the pairs that it is part of.
_WORD_BY_ITSELF = regex.compile(r"[\p{Han}\p{Hangul}]")
_SUBPART = regex.compile(rf"(?:\bv)?(\d+(?:\.\d+)+)|({_LETTER}+)", regex.V1)
_HAS_LETTER = regex.compile(r"\p{L}")
# What marks a compound as a name; words that a hyphen or a slash joins are only words.
_OF_A_NAME = re.compile(r"[\d._+#]")

# Characters that are not seen (soft hyphen, zero-width ones, marks of direction), and the line that lengthens Arabic.
_UNSEEN = regex.compile(r"[\p{DI}\u0640]+")
# What must not grow together with its neighbours when it is spelt out: a sign (Java™), a raised number after a digit
# (10⁶, 2½).
_APART = regex.compile(r"[\p{So}…‥]|(?<=\p{Nd})\p{No}")
_FOREIGN_DIGIT = regex.compile(r"[\p{Nd}--[0-9]]", regex.V1)
_SPELT_ALIKE = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "‐": "-", "⁄": "/"})


class _Stemmers(threading.local):  # because threads must not share a stemmer
    def __init__(self) -> None:
        self._by_language: dict[str, Callable[[str], str]] = {}

    def of(self, language: str) -> Callable[[str], str]:
        """Gives a word its stem; leaves it as it is in a language without a stemmer."""
        if language not in self._by_language:
            known = language in Stemmer.algorithms()
            # Without its own cache, which makes it three times as slow on words that are new.
            self._by_language[language] = Stemmer.Stemmer(language, 0).stemWord if known else str
        return self._by_language[language]


_stemmers = _Stemmers()


def words_of(text: str) -> list[str]:
    """The text in lower case, split at white space, which no term spans."""
    return text.lower().split()


def tokenize(text: str, language: str = "english") -> list[str]:
    """The terms of a text, in order.

    Words are stemmed: `releases` and `released` are one term. Words joined by a hyphen, a slash or an apostrophe are
    separate terms. A name, which is a compound with digits, dots, underscores, pluses or sharps, is a term, and so are
    its parts (`node.js`: `node.js`, `node`, `js`). A version number is never split, because its digits alone match
    everything (`v8.0-beta`: `v8.0-beta`, `8.0`, `beta`).

    Forms of one letter are one letter (NFKC, without case), and marks stay with their letters. Where a script puts no
    spaces between words, each two neighbouring characters are a term (`月曜日`: `月曜`, `曜日`), and so is each Han or
    Hangul character.
    """
    return list(chain.from_iterable(terms_of(words_of(text), language)))


def terms_of(words: Sequence[str], language: str) -> list[Sequence[str]]:
    """The terms of each of some `words_of`."""
    stem = _stemmers.of(language)
    plain = [_plain(word) for word in words]  # nearly all words are, and they are one part
    return [
        (stemmed,) if stemmed else [stem(text) if kind == "word" else text for text, kind in _parts(word)]
        for word, stemmed in zip(words, map(stem, plain), strict=True)
    ]


def query_terms(query: str, languages: Sequence[str]) -> list[dict[str, str]]:
    """The terms to look for, each once: for every part of the query, its term in each of the languages.

    A language in which the part is a stop word is left out, unless the query has no others in it.
    """
    found = {part for word in words_of(query) for part in _parts(word) if part.kind != "aside"}
    parts = sorted(found)
    groups: list[dict[str, str]] = [{} for _ in parts]
    for language in languages:
        stem = _stemmers.of(language)
        terms: dict[str, int] = {}
        for number, (text, kind) in enumerate(parts):
            terms.setdefault(stem(text) if kind == "word" else text, number)
        telling = terms.keys() - _stop_terms(language) or terms.keys()
        for term in telling:
            groups[terms[term]][language] = term
    return [group for group in groups if group]


def content_words(text: str, languages: Sequence[str]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """The words of a text that may say something about a topic, as they are written, each with its terms by language.

    Function words of any of the languages are left out, even of a text that has no others. Where a script puts no
    spaces between words, each two neighbouring characters count as one.
    """
    for word, parts in _written_words(text):
        terms = [{language: _term(part, language) for language in languages} for part in parts]
        if any(term in _stop_terms(language) for of_part in terms for language, term in of_part.items()):
            continue
        if languages and terms:
            yield word, terms


def places_of(text: str, terms: Collection[str], language: str) -> list[tuple[int, int]]:
    """Where words with these terms stand in a text, as ranges of characters in order, none within another.

    A word is marked whole, in whatever form it has; of a run in a script without spaces, what the term is.
    """
    found: set[tuple[int, int]] = set()
    for word in _WORD.finditer(text):
        (own,) = terms_of([word[0].lower()], language)
        held = set(own) & set(terms)
        if not held:
            continue
        if not any(run for _, run in _PIECE.findall(word[0])):
            inner = word[0].strip(_AROUND_WORDS)
            first = word.start() + word[0].index(inner)
            found.add((first, first + len(inner)))
            continue
        for term in held:
            at = word[0].lower().find(term)
            while at >= 0:
                found.add((word.start() + at, word.start() + at + len(term)))
                at = word[0].lower().find(term, at + 1)
    joined: list[tuple[int, int]] = []
    for first, end in sorted(found):
        if joined and first < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return joined


def _term(part: Part, language: str) -> str:
    return _stemmers.of(language)(part.text) if part.kind == "word" else part.text


def _written_words(text: str) -> Iterator[tuple[str, list[Part]]]:
    """The words of a text in their own spelling, with their parts."""
    for word in text.split():
        pieces = [] if _plain(word) else _PIECE.findall(_normalised(word))
        if len(pieces) < 2 and not any(run for _, run in pieces):
            yield word.strip(_AROUND_WORDS), [part for part in _parts(word.lower()) if part.kind != "aside"]
            continue
        for term, run in pieces:
            if term:
                yield term, list(_compound(term))
            for part in _neighbours(run) if run else ():
                if part.kind != "aside":
                    yield part.text, [part]


@lru_cache(maxsize=len(LANGUAGES))
def _stop_terms(language: str) -> frozenset[str]:
    """What says nothing about a topic. It is indexed, but looked for only if a query has nothing else."""
    return frozenset(tokenize(FUNCTION_WORDS.get(language, ""), language))


def _plain(word: str) -> str:
    """The word without punctuation around it if it then is one part, as nearly all are; else nothing."""
    inner = word.strip(_AROUND_WORDS)
    return inner if inner.isascii() and inner.isalnum() else ""


def _parts(word: str) -> Iterator[Part]:
    plain = _plain(word)
    if plain:
        yield Part(plain, "word")
        return
    for term, run in _PIECE.findall(word if word.isascii() else _normalised(word)):
        yield from _compound(term) if term else _neighbours(run)


def _normalised(word: str) -> str:
    """Forms of one letter as one letter: composed, of normal width, without case; unseen characters removed."""
    seen = _APART.sub(r" \g<0> ", _UNSEEN.sub("", word))
    # Folding the case can take a letter out of its composed form; Turkish İ leaves a dot behind.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold()).replace("i̇", "i")
    return str(_FOREIGN_DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), folded.translate(_SPELT_ALIKE)))


@lru_cache(maxsize=1 << 16)
def _compound(term: str) -> tuple[Part, ...]:
    """The parts of a compound or word; cached, because words repeat."""
    term = term.removesuffix("'s")
    texts = [version or word for version, word in _SUBPART.findall(term)] if _HAS_LETTER.search(term) else [term]
    words = tuple(Part(text, "word") for text in texts)
    if texts == [term]:
        return words
    name = (Part(term, "exact"),) if _OF_A_NAME.search(term) else ()
    return (*name, *words) if len(texts) > 1 or len(texts[0]) < len(term.rstrip("+#")) else name


def _neighbours(run: str) -> Iterator[Part]:
    """Each two neighbouring characters of a run, with their marks; of a run of one character, that."""
    characters = _CHARACTER.findall(run)
    if len(characters) == 1:
        return iter((Part(run, "exact"),))
    pairs = (Part(first + second, "exact") for first, second in pairwise(characters))
    return chain(pairs, (Part(character, "aside") for character in _WORD_BY_ITSELF.findall(run)))
