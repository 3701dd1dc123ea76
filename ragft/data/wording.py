"""Wording that should be looked at before it is trained: insults and threats, and statements about groups of people.

Word lists find words, not meanings: a row that quotes an insult is found, and one that is unkind in polite words is
not. What is found is for a person to decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ragft.data.groups import Axes
from ragft.errors import UsageError

_INSULTS = (
    "arse", "arsehole", "arseholes", "asshole", "assholes", "bastard", "bastards", "bitch", "bitches", "bullshit",
    "cretin", "cretins", "cunt", "cunts", "dickhead", "dickheads", "dimwit", "dipshit", "dumbass", "fuck", "fucked",
    "fucker", "fuckers", "fucking", "goddamn", "halfwit", "idiot", "idiots", "idiotic", "imbecile", "imbeciles",
    "jackass", "moron", "morons", "moronic", "motherfucker", "motherfuckers", "nitwit", "piss off", "prick", "pricks",
    "retard", "retarded", "retards", "scumbag", "scumbags", "shit", "shithead", "shitty", "shut up", "slut", "sluts",
    "twat", "twats", "wanker", "wankers", "whore", "whores",
    # German
    "arschloch", "arschlöcher", "blödmann", "drecksau", "fick dich", "fotze", "halt die fresse", "hurensohn",
    "idioten", "missgeburt", "scheiße", "scheisse", "schlampe", "spast", "trottel", "verpiss dich",
    "vollidiot", "wichser",
)  # fmt: skip
_THREATS = (
    r"(?:i|we)(?: will|'ll| am going to| are going to) (?:kill|hurt|find|destroy|beat|shoot|stab) (?:you|him|her|them)",
    r"(?:kill|hang|shoot) (?:your ?sel(?:f|ves)|them all)", r"(?:you|they|he|she)(?: all)? (?:should|deserve to) die",
    r"you(?: are|'re) (?:so |just |really |a |an |too )*(?:stupid|dumb|worthless|pathetic|disgusting|useless|ugly)",
    r"i hate (?:you|them all|these people|those people)", r"nobody (?:likes|wants|would miss) you",
)  # fmt: skip

_PEOPLE = (
    "women", "men", "girls", "boys", "mothers", "fathers", "wives", "husbands", "females", "males",
    "blacks", "whites", "asians", "africans", "americans", "arabs", "chinese people", "europeans", "germans", "indians",
    "italians", "jews", "latinos", "mexicans", "muslims", "poles", "christians", "hindus", "buddhists", "atheists",
    "catholics", "protestants", "roma", "russians", "turks", "immigrants", "migrants", "refugees", "foreigners",
    "gays", "lesbians", "homosexuals", "transsexuals", "gay people", "trans people", "black people", "white people",
    "old people", "young people", "elderly people", "the elderly", "the old", "seniors", "pensioners", "teenagers",
    "millennials", "boomers", "the disabled", "disabled people", "autistic people", "blind people", "deaf people",
    "the poor", "poor people", "rich people", "the homeless", "homeless people", "the unemployed", "fat people",
    "frauen", "männer", "ausländer", "juden", "muslime", "flüchtlinge", "migranten", "behinderte", "rentner", "schwule",
)  # fmt: skip
"""Plurals, because a statement about a group is made in the plural."""


def _any(words: Iterable[str]) -> str:
    return "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in sorted(words, key=len, reverse=True))


_GENERAL = re.compile(
    rf"(?i)(?<![\w-])(?:(?:all|most|many|typical(?:ly)?|such|every|no|those|these|alle|die meisten|typisch)\s+)?"
    rf"(?:{_any(_PEOPLE)})"
    r"\s+(?:just\s+|simply\s+|naturally\s+|generally\s+|usually\s+)?(?:"
    r"(?:are|sind)\s+(?!(?:asked|invited|welcome|required|allowed|able to|entitled|eligible|listed|"
    r"advised|exempt|covered)\b)"
    r"|(?:can(?:no|')t|can't|don't|do not|won't|should(?:n't| not)?|must|always|never|tend to|lack|belong|deserve|"
    r"love|hate|lie|steal|können nicht|gehören|lügen)\b)"
)


class Toxic:
    """Insults and threats: a built-in English and German list, and the words of a file."""

    def __init__(self, file: Path | None = None) -> None:
        """Reads the file: one word or phrase a line, upper or lower case; `#` begins a remark.

        Raises:
            UsageError: the file cannot be read.
        """
        self._found = re.compile(
            rf"(?i)(?<![\w-])(?:{_any((*_INSULTS, *words_in(file)))}|{'|'.join(_THREATS)})(?![\w-])"
        )

    def __call__(self, text: str) -> list[str]:
        """The words found, each once."""
        return list(dict.fromkeys(match[0].casefold() for match in self._found.finditer(text)))


def words_in(file: Path | None) -> list[str]:
    """The words of a file, see `Toxic`."""
    if file is None:
        return []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read ({error}): set data.audit.toxic_words to a file of words.") from None
    return [word for line in lines if (word := line.partition("#")[0].strip())]


def generalising(text: str) -> list[str]:
    """Statements about all people of a group, by the words that they begin with.

    >>> generalising("Note that women are bad drivers. Women are entitled to leave.")
    ['women are']
    """
    return [" ".join(match[0].split()).casefold() for match in _GENERAL.finditer(text)]


class Mentions:
    """Which groups of people a text names, by the terms of the bias suite (`evaluate.bias.groups`)."""

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        self._groups: dict[str, list[tuple[str, str]]] = {}
        for axis, groups in axes.items():
            for group, terms in groups.items():
                for term in terms:
                    self._groups.setdefault(term.casefold(), []).append((axis, group))
        named = _any(self._groups)
        self._found = re.compile(rf"(?i)(?<![\w-])(?:{named})(?![\w-])") if named else None

    def __call__(self, text: str) -> set[tuple[str, str]]:
        """(axis, group) of every group of which the text holds a term. Names count in capitals only."""
        groups: set[tuple[str, str]] = set()
        for match in self._found.finditer(text) if self._found else ():
            for axis, group in self._groups[match[0].casefold()]:
                terms: Mapping[str, tuple[str, ...]] = self._axes[axis]
                written = match[0] if match[0] in terms[group] else match[0].casefold()
                if written in terms[group]:
                    groups.add((axis, group))
        return groups
