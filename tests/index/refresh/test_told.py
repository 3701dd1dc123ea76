"""A refresh that is told what changed: it looks at nothing else, and ends where a look at everything would."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.indexes import HashEncoder, WordTokenizer, Write

from index.documents.folder import read_files
from index.documents.formats.settings import ReadSettings
from index.errors import TooManyRemovals
from index.refresh.gate import Verdict
from index.refresh.refresh import RefreshReport, RefreshSettings, refresh
from index.store.folder import current_id, read_manifest, write_manifest
from index.store.maintenance import rollback
from index.store.snapshot import Snapshot

BOARD = "labels: [board]\n"


@pytest.fixture
def told(tmp_path: Path, fake: HashEncoder) -> Callable[..., RefreshReport]:
    """Refreshes the index of `documents` by names alone: a look at the whole folder fails the test."""

    def refresh_told(*names: str, settings: RefreshSettings | None = None) -> RefreshReport:
        with patch("index.refresh.refresh.read_documents", side_effect=AssertionError("looked at the whole folder")):
            return refresh(tmp_path / "index", tmp_path / "documents", fake, settings, told=names)

    return refresh_told


def labels_of(root: Path) -> dict[str, tuple[str, ...]]:
    return {chunk.document_id: chunk.labels for chunk in Snapshot.open(root).chunks()}


def test_only_what_is_told_is_read(
    tmp_path: Path, write: Write, fake: HashEncoder, told: Callable[..., RefreshReport]
) -> None:
    folder = write({"a.md": "# A\n\nred\n", "b.md": "# B\n\nblue\n", "c.md": "# C\n\nold\n"})
    refresh(tmp_path / "index", folder, fake)
    write({"a.md": "# A\n\ngreen\n", "b.md": "# B\n\nyellow\n", "d.md": "# D\n\nnew\n"})
    fake.encoded.clear()
    report = told("a.md", "c.md", "d.md")
    assert (report.plan.added, report.plan.changed, report.plan.removed) == (("d.md",), ("a.md",), ("c.md",))
    assert (report.plan.unchanged, report.published) == (1, True)
    assert fake.encoded == ["A\ngreen", "D\nnew"]
    # What was not told is found by the next look at everything.
    assert refresh(tmp_path / "index", folder, fake).plan.changed == ("b.md",)


def test_nothing_told_changes_nothing(
    tmp_path: Path, write: Write, fake: HashEncoder, told: Callable[..., RefreshReport]
) -> None:
    refresh(tmp_path / "index", write({"a.md": "# A\n\nred\n"}), fake)
    write({"a.md": "# A\n\ngreen\n"})
    report = told()
    assert report.plan.is_empty and not report.published


def test_folder_that_is_told_stands_for_the_files_in_it(
    tmp_path: Path, write: Write, fake: HashEncoder, told: Callable[..., RefreshReport]
) -> None:
    refresh(tmp_path / "index", write({"x/a.md": "a", "x/y/b.md": "b", "x.md": "x", "x0.md": "z"}), fake)
    write({"x/a.md": "other", "x/c.md": "c", "x.md": "x", "x0.md": "z"})
    plan = told("x").plan
    assert (plan.added, plan.changed, plan.removed, plan.unchanged) == (("x/c.md",), ("x/a.md",), ("x/y/b.md",), 2)


def test_rows_of_a_table_belong_to_its_file(
    tmp_path: Path, write: Write, fake: HashEncoder, told: Callable[..., RefreshReport]
) -> None:
    files = {"t.csv": "id,text\n1,red\n2,blue\n", "t.csv#1.md": "a file of its own", "t.csv#x/a.md": "and another"}
    refresh(tmp_path / "index", write(files), fake)
    write({**files, "t.csv": "id,text\n1,red\n3,green\n"})
    plan = told("t.csv").plan
    assert (plan.added, plan.changed, plan.removed, plan.unchanged) == (("t.csv#3",), (), ("t.csv#2",), 3)
    write({name: text for name, text in files.items() if name != "t.csv"})
    assert told("t.csv").plan.removed == ("t.csv#1", "t.csv#3")


def test_side_file_that_is_told_closes_its_document(
    tmp_path: Path, write: Write, fake: HashEncoder, told: Callable[..., RefreshReport]
) -> None:
    refresh(tmp_path / "index", write({"pay.txt": "salaries", "other.txt": "news"}), fake)
    write({"pay.txt": "salaries", "other.txt": "news", "pay.txt.meta.yaml": BOARD})
    assert told("pay.txt.meta.yaml").plan.changed == ("pay.txt",)
    assert labels_of(tmp_path / "index") == {"other.txt": (), "pay.txt": ("board",)}


@pytest.mark.parametrize("side", ["pay.meta.yaml", ".pay.txt.meta.yaml"])
def test_misnamed_side_file_that_is_told_keeps_its_document_out(
    side: str, tmp_path: Path, write: Write, fake: HashEncoder, told: Callable[..., RefreshReport]
) -> None:
    refresh(tmp_path / "index", write({"pay.txt": "salaries", "other.txt": "news"}), fake)
    write({"pay.txt": "the board's salaries", "other.txt": "news", side: BOARD})
    assert told(side).plan.kept == ("pay.txt",)


def test_side_file_that_went_is_told_too(
    tmp_path: Path, write: Write, fake: HashEncoder, told: Callable[..., RefreshReport]
) -> None:
    refresh(tmp_path / "index", write({"pay.txt": "salaries", "pay.txt.meta.yaml": BOARD}), fake)
    write({"pay.txt": "salaries"})
    assert told("pay.txt.meta.yaml", settings=RefreshSettings()).plan.changed == ("pay.txt",)
    assert labels_of(tmp_path / "index") == {"pay.txt": ()}


def test_unreadable_file_keeps_its_older_version(
    tmp_path: Path, write: Write, fake: HashEncoder, told: Callable[..., RefreshReport]
) -> None:
    folder = write({"a.md": "red", "b.md": "blue"})
    refresh(tmp_path / "index", folder, fake)
    (folder / "a.md").write_bytes(b"\x00half-written")
    report = told("a.md")
    assert report.plan.kept == ("a.md",) and not report.plan.removed


def test_too_many_removals_are_refused_as_always(
    tmp_path: Path, write: Write, fake: HashEncoder, told: Callable[..., RefreshReport]
) -> None:
    refresh(tmp_path / "index", write({"x/a.md": "a", "x/b.md": "b", "c.md": "c"}), fake)
    write({"c.md": "c"})
    with pytest.raises(TooManyRemovals):
        told("x", settings=RefreshSettings(allow_removal=0.5))


def test_document_that_takes_a_side_file_from_another_is_looked_at_with_that_one(
    tmp_path: Path, write: Write, fake: HashEncoder, told: Callable[..., RefreshReport]
) -> None:
    refresh(tmp_path / "index", write({"A.md": "open", "a.md.meta.yaml": BOARD, "b.md": "b"}), fake)
    assert labels_of(tmp_path / "index") == {"b.md": ()}
    write({"A.md": "open", "a.md": "closed", "a.md.meta.yaml": BOARD, "b.md": "b"})
    assert told("a.md").plan.added == ("A.md", "a.md")
    assert labels_of(tmp_path / "index") == {"A.md": (), "a.md": ("board",), "b.md": ()}
    write({"A.md": "open", "a.md.meta.yaml": BOARD, "b.md": "b"})
    plan = told("a.md").plan
    assert (plan.removed, plan.kept) == (("a.md",), ("A.md",))


def test_part_with_the_name_of_a_file_does_not_open_that_file(
    tmp_path: Path, write: Write, fake: HashEncoder, told: Callable[..., RefreshReport]
) -> None:
    files = {"t.csv": "id,text\n1.md,row\n", "t.csv#1.md": "---\nlabels: [board]\n---\nfile\n", "b.md": "b"}
    refresh(tmp_path / "index", write(files), fake)
    before = labels_of(tmp_path / "index")
    write({**files, "t.csv": "id,text\n1.md,row\n2,other\n"})
    assert told("t.csv").plan.added == ("t.csv#2",)
    assert labels_of(tmp_path / "index") == {**before, "t.csv#2": ()}


def test_name_that_begins_with_a_number_sign_is_only_a_name(
    tmp_path: Path, write: Write, fake: HashEncoder, told: Callable[..., RefreshReport]
) -> None:
    refresh(tmp_path / "index", write({"a.md": "a", "C/b.md": "b", "C#/c.md": "c"}), fake)
    write({"a.md": "other", "C/b.md": "other", "C#/c.md": "other"})
    assert told("#a.md#", "C#/c.md").plan.changed == ("C#/c.md",)


@pytest.mark.parametrize(
    "change",
    [
        "first",
        "chunking",
        "reading",
        "held",
        "held by another",
        "rollback",
        "older program",
        "folder itself",
        "ignore file",
    ],
)
def test_whole_folder_is_looked_at_where_names_are_not_enough(
    change: str, tmp_path: Path, write: Write, fake: HashEncoder
) -> None:
    folder, root = write({"a.md": "red", "b.md": "blue"}), tmp_path / "index"
    settings = RefreshSettings()
    if change != "first":
        refresh(root, folder, fake)
    write({"a.md": "green", "b.md": "yellow"})
    if change == "chunking":
        settings = RefreshSettings(max_tokens=40)
    if change == "reading":
        settings = RefreshSettings(reading=ReadSettings(default_labels=("staff",)))
    if change in ("held", "rollback"):
        # The last reading of all files was with these settings, but the live snapshot is not from it.
        settings = RefreshSettings(reading=ReadSettings(default_labels=("staff",)))
        gate = (lambda new, live: Verdict(False, "Lost.")) if change == "held" else None
        refresh(root, folder, fake, settings, gate=gate)
        write({"a.md": "white", "b.md": "yellow"})
    if change == "held by another":
        # What was told for it is not in the live snapshot.
        refresh(root, folder, fake, told=["b.md"], gate=lambda new, live: Verdict(False, "Lost."))
    if change == "rollback":
        rollback(root)
    if change == "older program":
        write_manifest(root, replace(read_manifest(root, current_id(root)), reading=""))
    names = {"folder itself": [""], "ignore file": [".ragftignore"]}
    plan = refresh(root, folder, fake, settings, told=names.get(change, ["a.md"])).plan
    assert plan.added + plan.changed == ("a.md", "b.md")
    assert set(labels_of(root).values()) == {settings.reading.default_labels}


def test_names_never_lead_out_of_the_folder(tmp_path: Path, write: Write) -> None:
    folder = write({"a.md": "red"})
    (tmp_path / "secret.md").write_text("secret")
    (folder / "link").symlink_to(tmp_path)
    found = read_files(folder, ["../secret.md", str(tmp_path / "secret.md"), "link/secret.md", "./a.md", "x/../a.md"])
    assert not found.documents
    assert {item.path: item.reason for item in found.skipped}["link/secret.md"] == (
        "in a folder that is a link, which is not followed"
    )


NAMES = ["a.md", "b.txt", "x/a.md", "x/y/c.md", "t.csv", "t.csv#1", "t.csv#1.md", "a.md.meta.yaml", "b.meta.yaml", "x"]
TEXTS = [
    "red",
    "labels: [board]\n",
    "id,text\n1,one\n2,two\n",
    "id,text\n1,one\n3,three\n",
    "---\nlabels: [hr]\n---\nb",
]
Files = dict[str, str]


def hold(folder: Path, files: Files) -> None:
    shutil.rmtree(folder)
    for name, text in {**files, "always.md": "always here"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


FILES = st.dictionaries(st.sampled_from(NAMES[:-1]), st.sampled_from(TEXTS))


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(states=st.lists(FILES, min_size=2, max_size=4))
def test_told_refreshes_end_where_a_look_at_everything_does(states: list[Files]) -> None:
    with TemporaryDirectory() as temporary:
        root, folder, encoder = Path(temporary, "index"), Path(temporary, "documents"), HashEncoder(WordTokenizer())
        folder.mkdir()
        before: Files = {}
        for number, files in enumerate(states):
            hold(folder, files)
            changed = {name for name in {*before, *files} if before.get(name) != files.get(name)}
            refresh(root, folder, encoder, told=changed if number else None)
            before = files
        looked = refresh(root, folder, encoder, check_content=True)
        assert looked.plan.is_empty and not looked.published
