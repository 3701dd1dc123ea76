"""Access labels: the grammar of their names, and what looks like an attempt to give a document some.

One grammar holds for documents and for the callers that may see them, so that a label which a document has can be given
to a key. Keys, columns and lines that look as if they were meant as labels, and are not exactly the key that is read,
are recognised here; whoever reads such a file refuses it, because a document without labels is open to everybody.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from index.documents.formats.settings import Unreadable

KEY = "labels"
"""The one key of front matter and side files that is read as labels."""

_SEPARATORS = ",;"
_EVERYTHING = "*"
"""Stands for all labels where a caller's labels are listed; no document can have it."""
_FORBIDDEN = frozenset(f'{_SEPARATORS}{_EVERYTHING}=#[]{{}}"')
"""Separators, and what remains of a list, a comment or another key that was not recognised as such."""

_UNSEEN = "\u115f\u1160"
"""Letters that nobody sees."""
_SPELLINGS = (KEY, "label")
_ENDINGS = tuple(word[1:] for word in _SPELLINGS)
_OTHER_WORDS = frozenset(["abel", "lapel", "lapels", "libel", "libels"])
"""Words that are one letter away from `label` and mean something else; those with another first letter (`Kabel`) are
left out by rule."""
_SYNONYMS = frozenset(
    [
        "acl", "acls", "access", "accesscontrol", "accesscontrollist", "accessgroup", "accessgroups", "accesslabel",
        "accesslabels", "accesslevel", "accesslist", "accessroles", "allowedgroups", "allowedlabels",
        "allowedroles", "allowedusers", "documentlabels", "permission", "permissions", "readableby", "restrictedto",
        "securitylabel", "securitylabels", "visibleto",
    ]
)  # fmt: skip
"""What else people call it. Words that as often mean something else (audience, groups, readers) are left out."""


def labels_of(value: object, what: str) -> tuple[str, ...]:
    """Labels from a list of names, or from a text of names separated by `;` or `,`; none from an empty one.

    Args:
        value: what stands under the key, or in the column, of labels.
        what: where it stands, as the subject of a sentence: `its front matter`, `the row`.

    Raises:
        Unreadable: it is neither, or a name is not one that a key can have.
    """
    if isinstance(value, str):
        value = re.split(f"[{_SEPARATORS}]", value) if value.strip() else []
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise Unreadable(f"{what} has labels that are not a list of names")
    names = [label_name(name) for name in value]
    for name in names:
        if (fault := fault_of_label(name)) is not None:
            raise Unreadable(f"{what} has a label that no key can hold: {fault}")
    return tuple(sorted(set(names)))


def label_name(text: str) -> str:
    """A label as it is compared: composed letters, and one space where white space stands; case counts."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def fault_of_label(name: str) -> str | None:
    """Why a name (see `label_name`) cannot be a label, neither of a document nor of a caller; None if it can."""
    if not name:
        return "it is blank"
    if not name.isprintable():
        return f"{name!a} holds an invisible character"
    if name.startswith("-") or not _FORBIDDEN.isdisjoint(name):
        return f"{name!r} begins with - or holds one of {' '.join(sorted(_FORBIDDEN))}"
    return None


def looks_like_labels(key: object) -> bool:
    """Whether a key or the name of a column reads as if labels were meant, exactly (`labels`) or not.

    Case, quotes, blanks, marks and invisible characters around and inside do not count, nor does one wrong, missing or
    superfluous letter of `labels`; of a nested key (`ragft.labels`), the last part counts.
    """
    word = _bare(str(key).rsplit(".", 1)[-1])
    return word in _SYNONYMS or is_spelling(word)


def is_spelling(key: str) -> bool:
    """Whether a key is `labels`, in whatever spelling: `Label`, `"labels "`, `lables`."""
    word = _bare(key)
    if word in _SPELLINGS:
        return True
    if not 4 <= len(word) <= 7 or word in _OTHER_WORDS or (word[1:] in _ENDINGS and word[0].isascii()):
        return False
    return any(_is_one_edit(word, right) for right in _SPELLINGS)


def refuse_attempts(keys: Iterable[str], what: str, read: str = KEY) -> None:
    """Refuse a document among whose keys one looks like labels and is not the one that is read.

    Args:
        keys: all keys, nested ones with dots; or the names of columns, or of `meta` elements.
        what: where they stand, as in `labels_of`.
        read: the key that is read as labels.

    Raises:
        Unreadable: there is such a key.
    """
    for key in keys:
        if key != read and looks_like_labels(key):
            raise Unreadable(
                f"{what} has {key!a}, which looks like access labels and is not read as such; write it as {read!r}, or "
                "rename it"
            )


def nested_keys(content: Mapping[Any, Any]) -> Iterator[str]:
    """All keys of a mapping and of the mappings and lists inside it, with dots between the levels."""
    waiting: list[tuple[str, Any]] = [("", content)]
    while waiting:
        prefix, value = waiting.pop()
        if isinstance(value, Mapping):
            for key, inner in value.items():
                yield f"{prefix}{key}"
                waiting.append((f"{prefix}{key}.", inner))
        elif isinstance(value, list):
            waiting += [(prefix, inner) for inner in value]


def _bare(text: str) -> str:
    """The letters and digits of a text, in lower case and without accents that are marks of their own."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(letter for letter in folded if letter.isalnum() and letter not in _UNSEEN)


def _is_one_edit(word: str, right: str) -> bool:
    """Whether one letter put in, left out, replaced, or exchanged with its neighbour makes one word of the other."""
    if abs(len(word) - len(right)) > 1:
        return False
    same = next((place for place, pair in enumerate(zip(word, right, strict=False)) if pair[0] != pair[1]), None)
    if same is None:
        return word != right
    rest, wanted = word[same:], right[same:]
    is_exchanged = rest[:2] == wanted[1::-1] and rest[2:] == wanted[2:]
    return is_exchanged or rest[1:] == wanted[1:] or rest[1:] == wanted or rest == wanted[1:]
