"""Finds the side files of documents, and files that look like a side file and are not named like one.

A side file says who may see its document. One that is not found because of its name would leave the document open to
everybody, so every file that may have been meant as one counts: `pay.meta.yaml`, `pay.txt.META.YAML`, `pay.txt.yaml` or
`pay.txt.meta.yaml.txt` for `pay.txt`, `plan.txt.meta.yaml` for `Plan.txt`. Knows names only, nothing of contents.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from index.documents.formats import format_of

_SUFFIXES = (".meta.yaml", ".meta.yml", ".meta.json")
"""Suffixes of side files: `handbook.pdf.meta.yaml` describes `handbook.pdf`."""

_NOTATIONS = (".yaml", ".yml", ".json", ".toml")
_MISNAMED = re.compile(r"(?P<stem>.+?)[\W_]+meta(?:data)?(?P<rest>(?:[\W_].*)?)")
_WITHOUT_META = re.compile(r"(?P<stem>.+?)[\W_]+(?:ya?ml|json|toml)")
_NOTATION = re.compile(r"ya?ml|json|toml")


@dataclass(frozen=True, slots=True)
class SideFiles:
    """The side files of a folder, each list sorted.

    Attributes:
        own: the side files of each document that has any.
        misnamed: for some documents, the files that may have been meant as their side files.
    """

    own: Mapping[str, Sequence[str]] = field(default_factory=dict)
    misnamed: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def of(self, name: str) -> tuple[str, ...]:
        """All files that have a say in who may see this one."""
        return (*self.own.get(name, ()), *self.misnamed.get(name, ()))

    def described(self) -> set[str]:
        """The files that have any."""
        return {*self.own, *self.misnamed}


def described_file(name: str) -> str | None:
    """Name of the file that the side file of this name describes; None if it is not the name of a side file."""
    if not name.endswith(_SUFFIXES):  # asked of every file of a folder
        return None
    return next(name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix))


def side_files(names: Collection[str]) -> SideFiles:
    """The side files among all files of a folder.

    Args:
        names: paths of the files; membership is asked of them, so it should be a set or a mapping.
    """
    own: dict[str, list[str]] = defaultdict(list)
    misnamed: list[str] = []
    for name in sorted(_candidates(names)):
        described = described_file(name)
        if described is not None and described in names:
            own[described].append(name)
        else:
            misnamed.append(name)
    return SideFiles(dict(own), _meant(misnamed, names) if misnamed else {})


def _candidates(names: Iterable[str]) -> list[str]:
    """Files that may be side files. Nearly all files are not, and there may be a hundred thousand of them."""
    return [name for name in names if "meta" in (low := name.lower()) or low.endswith(_NOTATIONS)]


def _meant(misnamed: Sequence[str], names: Iterable[str]) -> dict[str, list[str]]:
    """For each document that one of these files may have been meant for, those files."""
    stems = {name: found for name in misnamed if (found := _stem(name)) is not None}
    folders = {_folder(name) for name in stems}
    documents: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
    for name in names:
        if format_of(name) is not None and (folder := _folder(name)) in folders:
            documents[folder, _comparable(name), True].append(name)
            documents[folder, _comparable(name.rpartition(".")[0]), False].append(name)
    meant: dict[str, list[str]] = defaultdict(list)
    for side, (stem, is_whole) in stems.items():
        for key in ((_folder(side), stem, True), (_folder(side), stem, False))[: 1 if is_whole else 2]:
            for name in documents.get(key, ()):
                if name != side:
                    meant[name].append(side)
    return dict(meant)


def _stem(name: str) -> tuple[str, bool] | None:
    """What a misnamed side file has before `meta`, and whether that must be the whole name of a document."""
    plain = _comparable(name).lstrip("._~#")  # a hidden file, or what an editor keeps beside an open one
    match = _MISNAMED.fullmatch(plain)
    if match is not None and (format_of(name) is None or _NOTATION.search(match["rest"])):
        return match["stem"], False
    match = _WITHOUT_META.fullmatch(plain)
    return (match["stem"], True) if match is not None else None


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _comparable(name: str) -> str:
    """A file's bare name without blanks and invisible characters, in one case and one Unicode form."""
    bare = name.rpartition("/")[2]
    if not bare.isascii():
        bare = "".join(filter(str.isprintable, unicodedata.normalize("NFC", bare)))
    return "".join(bare.casefold().split())
