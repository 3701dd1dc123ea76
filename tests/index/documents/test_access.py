"""Who may see a document: what looks like an attempt to label it is understood or refused, never passed over."""

from __future__ import annotations

import os
import random
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.files import pdf
from support.indexes import HashEncoder, Write

from index.documents.document import Document, Skipped
from index.documents.folder import read_documents
from index.documents.formats.label_lines import label_line
from index.documents.formats.labels import fault_of_label, label_name, labels_of, looks_like_labels
from index.documents.formats.settings import ReadSettings, Unreadable
from index.documents.front_matter import front_matter_end, load_yaml
from index.documents.markdown import headings
from index.errors import NoDocuments
from index.refresh.refresh import RefreshSettings, refresh
from index.store.filters import FilterError, parse_labels
from index.store.snapshot import Snapshot

TEXT = "# Pay\nThe director earns 9.\n"
OPEN = "A page that everybody may see.\n"


def read(folder: Path, settings: ReadSettings | None = None) -> tuple[dict[str, Document], dict[str, Skipped]]:
    """What is read beside a page that is open, so that there always is a document."""
    (folder / "open.txt").write_text(OPEN)
    documents, skipped = read_documents(folder, settings)
    return {item.id: item for item in documents if item.id != "open.txt"}, {item.path: item for item in skipped}


# --- front matter, and what was meant as such

UNDERSTOOD = {
    "plain": "---\nlabels: [board]\n---\n",
    "text": "---\nlabels: board\n---\n",
    "list": "---\nlabels:\n- board\n---\n",
    "dots": "---\nlabels: [board]\n...\n",
    "mark": "\ufeff\ufeff---\nlabels: [board]\n---\n",
    "blank lines above": "\n \n---\nlabels: [board]\n---\n",
    "toml": "+++\nlabels = ['board']\n+++\n",
    "access as metadata": "---\nlabels: [board]\naccess: by bus\nmenu: {label: Pay}\n---\n",
    "line separator": "---\ntitle: Pay\u2028labels: [board]\n---\n",
}


@pytest.mark.parametrize("name", ["pay.md", "pay.txt"])
@pytest.mark.parametrize("head", UNDERSTOOD.values(), ids=UNDERSTOOD)
def test_labels_that_are_written_in_order_are_understood(tmp_path: Path, name: str, head: str) -> None:
    (tmp_path / name).write_text(head + TEXT)
    documents, skipped = read(tmp_path)
    assert not skipped and documents[name].labels == ("board",) and documents[name].text == TEXT


REFUSED = {
    "no blank": "---\nlabels:[board]\n---\n",
    "not closed": "---\nlabels: [board]\n\n",
    "not closed, with others": "---\ntitle: Pay\ntags:\n- a\n- b\nlabels: [board]\n\n",
    "half saved": "---\ntitle: Pay\n",
    "four dashes": "----\nlabels: [board]\n----\n",
    "comment above": "<!-- owner: hr -->\n---\nlabels: [board]\n---\n",
    "long comment above": "<!--\n" + "Licence, in words.\n" * 30 + "-->\n---\nlabels: [board]\n---\n",
    "title above": "Pay\n\n---\nlabels: [board]\n---\n",
    "toml, not closed": "+++\nlabels = ['board']\n\n",
    "json": '{\n "labels": ["board"]\n}\n',
    "json in one line": '{"title": "Pay", "labels": ["board"]}\n',
    "capital": "---\nLabels: [board]\n---\n",
    "singular": "---\nlabel: board\n---\n",
    "mistyped": "---\nlables: [board]\n---\n",
    "blank in the key": '---\n"labels ": [board]\n---\n',
    "invisible character": "---\nla\u200bbels: [board]\n---\n",
    "nested": "---\nragft:\n  labels: [board]\n---\n",
    "nested in a list": "---\nragft:\n- labels: [board]\n---\n",
    "list of mappings": "---\n- labels: [board]\n---\n",
    "in another value": "---\ntitle: |\n  Pay\n  labels: [board]\n---\n",
    "both": "---\nlabels: [staff]\nLabels: [board]\n---\n",
    "twice": "---\nlabels: [board]\nlabels: [staff]\n---\n",
    "access list": "---\nacl: [board]\n---\n",
    "empty": "---\nlabels: []\n---\n",
    "nothing": "---\nlabels:\n---\n",
    "number": "---\nlabels: [2024]\n---\n",
    "mapping": "---\nlabels: {board: true}\n---\n",
    "everybody": "---\nlabels: ['*']\n---\n",
    "two in one": "---\nlabels: ['a,b']\n---\n",
    "no rules": "labels: [board]\n\n",
    "no colon": "---\nlabels [board]\n---\n",
    "in a comment": "<!-- labels: board -->\n",
    "in bold": "**Labels:** board\n\n",
    "as an attribute": ":labels: board\n\n",
    "for another program": "#+LABELS: board\n\n",
    "in code at the very top": "```yaml\nlabels: [board]\n```\n",
    "second block": "---\ntitle: Pay\n---\n---\nlabels: [board]\n---\n",
}


@pytest.mark.parametrize("name", ["pay.md", "pay.txt"])
@pytest.mark.parametrize("head", REFUSED.values(), ids=REFUSED)
def test_what_looks_like_labels_and_is_not_understood_is_refused(tmp_path: Path, name: str, head: str) -> None:
    (tmp_path / name).write_text(head + (TEXT if head != REFUSED["half saved"] else ""))
    documents, skipped = read(tmp_path)
    assert not documents and not skipped[name].by_rule and skipped[name].reason


@pytest.mark.parametrize("cut", range(len("---\nlabels: [board]\n---\n# Pay\n")))
def test_file_that_is_caught_half_saved_is_never_open_with_its_text(tmp_path: Path, cut: int) -> None:
    (tmp_path / "pay.md").write_text("---\nlabels: [board]\n---\n# Pay\n"[:cut])
    documents, _ = read(tmp_path)
    assert all(document.labels == ("board",) or "Pay" not in document.text for document in documents.values())
    assert all(document.labels == ("board",) or "board" not in document.text for document in documents.values())


PROSE = {
    "rules": "---\n\n# Intro\n\nWe sell boats.\n\n---\n\n# Terms\n\nPay in 9 days.\n",
    "sentence with a colon": "---\nNote: these rules hold in all ports.\n---\n# Port\n",
    "two colons": "---\nWe open at 9: bring tea: thanks\n---\n# Port\n",
    "in a sentence": "# Labels\n\nWrite `labels: [board]` at the top. The labels: one or more names.\n",
    "broken sentence": "# Labels\n\nEach page has metadata and\nlabels: they say who sees it.\n",
    "long sentence": "# Pods\n\nLabels: key-value pairs that are attached to objects such as Pods.\n",
    "code": "# Labels\n\n```yaml\nmetadata:\n  labels:\n    app: web\n---\nlabels: [board]\n```\n",
    "indented code": "# Labels\n\nWrite\n\n    ---\n    labels: [board]\n    ---\n",
    "list": "# Options\n\n- labels: who may see it\n- **label**: its name\n",
    "heading": "# labels: what they are\n\nWords.\n",
    "further down": "# Boats\n\n" + "A line of prose.\n\n" * 12 + "labels: [board]\n",
    "other words": "# Menu\n\nKabel: 3 m\nTable: 4\nLevel: 2\nMabel: hello\n",
}


@pytest.mark.parametrize("text", PROSE.values(), ids=PROSE)
def test_prose_about_labels_or_between_rules_stays_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "page.md").write_text(text)
    documents, skipped = read(tmp_path)
    assert not skipped and documents["page.md"].text == text and documents["page.md"].labels == ()
    assert front_matter_end(text) == 0


def test_metadata_keep_their_type_and_their_digits(tmp_path: Path) -> None:
    (tmp_path / "n.md").write_text(
        "---\ncountry: NO\ntime: 12:30\nzip: 01234\nversion: 1.10\nyears: [2023, 2024]\nflags: [true, false]\n"
        "share: 0.5\nyear: 2024\nday: 2024-05-01\nat: 2024-05-01 10:00:00\nnone: ~\nphone: +49\nwrong: 2024-02-31\n"
        "big: 12345678901234567890\n---\nText.\n"
    )
    documents, skipped = read(tmp_path)
    assert not skipped and documents["n.md"].metadata == {
        "country": "NO", "time": "12:30", "zip": "01234", "version": "1.10", "years": [2023, 2024],
        "flags": [True, False], "share": 0.5, "year": 2024, "day": "2024-05-01", "at": "2024-05-01T10:00:00",
        "phone": "+49", "wrong": "2024-02-31", "big": "12345678901234567890",
    }  # fmt: skip


@given(st.integers(-(10**18) + 1, 10**18 - 1) | st.floats(allow_nan=False, allow_infinity=False))
def test_number_that_is_read_as_one_is_written_with_the_same_digits(number: float) -> None:
    value = load_yaml(f"a: {number}")["a"]
    assert str(value) == str(number) and (isinstance(value, str) or value == number)


# --- side files


@pytest.mark.parametrize("pattern", ["*.yaml", "pay.txt.*", "*.meta.yaml"])
@pytest.mark.parametrize("where", ["ignore file", "exclude", "include"])
def test_patterns_do_not_take_a_side_file_from_its_document(tmp_path: Path, pattern: str, where: str) -> None:
    (tmp_path / "pay.txt").write_text("The director earns 9.")
    (tmp_path / "pay.txt.meta.yaml").write_text("labels: [board]")
    if where == "ignore file":
        (tmp_path / ".ragftignore").write_text(pattern)
    documents, skipped = read(
        tmp_path,
        ReadSettings(include=("*.txt",)) if where == "include" else ReadSettings(exclude=(pattern,)),
    )
    assert not skipped and [document.labels for document in documents.values()] == [("board",)]


MISNAMED = [
    ("pay.txt", "pay.meta.yaml"), ("pay.txt", "pay.txt.META.YAML"), ("pay.txt", "pay.txt.meta.yaml.txt"),
    ("Plan.txt", "plan.txt.meta.yaml"), ("pay.txt", "pay.txt.meta"), ("pay.txt", "pay.txt.metadata.yaml"),
    ("pay.txt", "pay.txt_meta.yml"), ("pay.txt", "pay.txt.yaml"), ("pay.txt", "pay.txt .meta.yaml"),
    ("pay.txt", "pay.txt.meta (1).yaml"), ("pay.txt", "pay.txt.meta.yaml~"), ("pay.txt", "pay.txt.meta.toml"),
    ("a/pay.txt", "a/Pay.meta.json"), ("caf\u00e9.txt", "cafe\u0301.txt.meta.yaml"), ("pay.txt", "pay.txt.meta.ymal"),
    ("pay.txt", ".pay.txt.meta.yaml"), ("pay.txt", ".pay.txt.meta.yaml.swp"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "side"), MISNAMED)
@pytest.mark.parametrize("settings", [ReadSettings(), ReadSettings(exclude=("*meta*",))], ids=["all", "excluded"])
def test_document_whose_side_file_is_named_otherwise_is_refused(
    tmp_path: Path, name: str, side: str, settings: ReadSettings
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / name).write_text("The director earns 9.")
    (tmp_path / side).write_text('{"labels": ["board"]}')
    documents, skipped = read(tmp_path, settings)
    assert not documents and Path(side).name in skipped[name].reason and not skipped[name].by_rule


def test_files_that_only_resemble_side_files_close_nothing(tmp_path: Path) -> None:
    for name in ("app.md", "app-meta-tags.md", "report.txt", "meta.md"):
        (tmp_path / name).write_text("Words about access.")
    (tmp_path / "app.yaml").write_text("metadata: {labels: {app: web}}")
    (tmp_path / "report.txt.json").write_text('{"pages": 4}')
    (tmp_path / "other.meta.yaml").write_text("labels: [board]")
    documents, skipped = read(tmp_path)
    assert sorted(documents) == ["app-meta-tags.md", "app.md", "meta.md", "report.txt"]
    assert set(skipped) == {"app.yaml", "report.txt.json", "other.meta.yaml"}


def test_document_with_labels_of_its_own_side_file_is_not_closed_by_a_copy_of_that(tmp_path: Path) -> None:
    (tmp_path / "pay.pdf").write_bytes(pdf([[(50, 700, "words")]]))
    for side in ("pay.pdf.meta.yaml", "pay.pdf.meta.yaml.orig"):
        (tmp_path / side).write_text("labels: [board]")
    documents, _ = read(tmp_path)
    assert documents["pay.pdf"].labels == ("board",)


@pytest.mark.parametrize("side", ["pay.txt.meta.yaml", "pay.meta.yaml"])
def test_side_file_that_arrives_is_seen_though_its_document_did_not_change(
    tmp_path: Path, write: Write, words: HashEncoder, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    monkeypatch.setattr("index.documents.unchanged.SETTLED_NS", -(10**15))
    folder = write({"pay.txt": "The director earns 9.", "open.txt": OPEN})
    settings = RefreshSettings(reading=ReadSettings(exclude=("*.yaml",)))
    refresh(tmp_path / "index", folder, words, settings)
    (folder / side).write_text("labels: [board]")
    report = refresh(tmp_path / "index", folder, words, settings)
    if side == "pay.txt.meta.yaml":
        assert report.plan.changed == ("pay.txt",)
        assert {tuple(chunk.labels) for chunk in Snapshot.open(tmp_path / "index").chunks()} == {(), ("board",)}
    else:
        assert report.plan.kept == ("pay.txt",) and side in report.kept[0].reason


# --- folders where nothing may be open by default


def test_default_labels_are_those_of_documents_and_rows_that_name_none(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("---\nlabels: [board]\n---\nWords.")
    (tmp_path / "rows.jsonl").write_text('{"text": "x", "labels": ["own"]}\n{"text": "y"}')
    documents, _ = read_documents(tmp_path, ReadSettings(default_labels=("staff",)))
    assert {item.id: item.labels for item in documents} == {
        "a.md": ("board",),
        "rows.jsonl#1": ("own",),
        "rows.jsonl#2": ("staff",),
    }


def test_where_labels_are_required_documents_without_any_are_left_out_and_leave_the_index(
    tmp_path: Path, write: Write, words: HashEncoder
) -> None:
    files = {
        "pay.txt": "The director earns 9.",
        "pay.txt.meta.yaml": "labels: [board]",
        "open.txt": OPEN,
        "rows.jsonl": '{"text": "x", "labels": ["own"]}\n{"text": "y"}',
    }
    root = tmp_path / "index"
    refresh(root, write(files), words)
    strict = RefreshSettings(reading=ReadSettings(require_labels=True))
    report = refresh(root, write(files), words, strict)
    assert report.plan.removed == ("open.txt", "rows.jsonl#2")
    assert {item.path: item.by_rule for item in report.skipped} == {"open.txt": True, "rows.jsonl": True}
    del files["pay.txt.meta.yaml"]
    report = refresh(root, write(files), words, strict)
    assert report.plan.removed == ("pay.txt",)
    assert all(chunk.labels for chunk in Snapshot.open(root).chunks())


def test_required_labels_may_be_the_default_ones(tmp_path: Path) -> None:
    documents, skipped = read(tmp_path, ReadSettings(default_labels=("staff",), require_labels=True))
    assert not documents and not skipped
    with pytest.raises(NoDocuments, match="require_labels"):
        read_documents(tmp_path, ReadSettings(require_labels=True))


# --- the cases that were found


def copied(case: str, folder: Path) -> Path:
    """The files of a folder of `shared/data/reading`, in a folder of their own; skips if they are absent."""
    source = Path(__file__).parents[4] / "shared" / "data" / "reading" / case
    if not source.is_dir():
        pytest.skip(f"needs {source}")
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize(
    ("case", "labels"),
    [
        ("50-acl-front-matter-variants", {"e-leading-blank.md": ("board",), "o.txt": ("board",)}),
        ("51-acl-side-file-excluded", {"pay.txt": ("board",)}),
        ("52-acl-side-file-misnamed", {}),
        ("54-acl-label-with-space", {}),
    ],
)
def test_no_restricted_document_of_the_cases_is_open(
    tmp_path: Path, case: str, labels: dict[str, tuple[str, ...]]
) -> None:
    documents, skipped = read(copied(case, tmp_path))
    assert {name: document.labels for name, document in documents.items()} == labels
    assert all(item.reason for item in skipped.values())


def test_metadata_of_the_case_keep_their_digits(tmp_path: Path) -> None:
    documents, _ = read(copied("64-front-matter-yaml-traps", tmp_path))
    assert documents["n.md"].metadata == {
        "country": "NO", "time": "12:30", "zip": "01234", "version": "1.10", "years": [2023, 2024],
        "flags": [True, False],
    }  # fmt: skip


def test_prose_of_the_case_stays_text_and_its_headings_are_known(tmp_path: Path) -> None:
    documents, skipped = read(copied("73-md-rule-first", tmp_path))
    assert not skipped
    assert [heading.text for heading in headings(documents["s.md"].text)] == ["Intro", "Terms"]
    assert "these rules hold in all ports" in documents["u.md"].text and "bring tea" in documents["v.md"].text
    assert documents["t.md"].title == "Deck" and "Slide one" in documents["t.md"].text


def test_what_word_and_windows_left_in_the_case_is_passed_over(tmp_path: Path) -> None:
    documents, skipped = read(copied("32-docx-lockfile", tmp_path))
    assert list(documents) == ["report.docx"] and not skipped


# --- the grammar of labels


@pytest.mark.parametrize(
    "key",
    [
        "labels", "Labels", "LABEL", " labels ", '"labels"', "lables", "labes", "la\u200bbels", "ragft.labels", "acl",
        "\uff4c\uff41\uff42\uff45\uff4c\uff53", "ACLs", "access", "access_control", "l-a-b-e-l-s", "läbels", "labels:",
    ],
)  # fmt: skip
def test_key_that_was_meant_as_labels_is_recognised(key: str) -> None:
    assert looks_like_labels(key)


@pytest.mark.parametrize(
    "key",
    ["table", "tables", "level", "Kabel", "babel", "sidebar_label", "title", "tags", "lab", "audience", "", 3],
)
def test_other_keys_are_not_taken_for_labels(key: object) -> None:
    assert not looks_like_labels(key)


@given(st.text(max_size=12))
def test_every_label_of_a_document_can_be_given_to_a_key_and_no_other(text: str) -> None:
    name = label_name(text)
    try:
        labels = labels_of([text], "the row")
    except Unreadable:
        assert fault_of_label(name)
    else:
        assert labels == (name,) and parse_labels(text) == {name}
        assert parse_labels(f"staff, {unicodedata.normalize('NFD', text)}") == {"staff", name}
    if fault_of_label(name) is not None and name not in ("", "*") and not {",", ";"} & set(name):
        with pytest.raises(FilterError):
            parse_labels(text)


# --- fuzz

HIDDEN = [b"\x00", b"\x01", b"\x07", b"\x0b", b"\x0c", b"\r", b"\x1c", b"\x7f", b"\x80", b"\xff", b"\xc2\x85", b"\t"]
HIDDEN += [mark.encode() for mark in "\u00a0\u00ad\u034f\u115f\u200b\u200e\u2028\u2029\u2060\u3000\u3164\ufe0f\ufeff"]
HEADS = [
    b"---\nlabels: [board]\n---\n", b"---\ntitle: Pay\nlabels:\n- board\nyear: 2024\n---\n",
    b"+++\ntitle = 'Pay'\nlabels = ['board']\n+++\n", b'---\n"labels": "board"\n...\n',
]  # fmt: skip
FOLDERS = int(os.environ.get("RAGFT_FUZZ_FOLDERS", "8"))
"""As many folders as fit into a few seconds; set it to 200 or more after a change to what is recognised."""


def mutilated(source: random.Random) -> bytes:
    """A page whose author wrote labels, with hidden bytes put in, and the end or a rule missing."""
    head = bytearray(source.choice(HEADS))
    for _ in range(source.choice([1, 1, 1, 2, 3])):
        place = source.randrange(len(head) + 1)
        head[place:place] = source.choice(HIDDEN)
    content = bytes(head) + b"# Pay\nThe director earns 9.\n"
    kind = source.randrange(6)
    if kind == 0:
        content = content[: source.randrange(1, len(content))]
    elif kind == 1:
        content = source.choice([b"\n", b"\xef\xbb\xbf", b"# made by hand\n", b"<!-- x -->\n", b" "]) + content
    elif kind == 2:
        lines = content.splitlines(keepends=True)
        lines[0] = source.choice([b"--\n", b"----\n", b"***\n", b"", b"--- #\n"])
        content = b"".join(lines)
    return content


def tells(document: Document) -> bool:
    """Whether everybody may see a document that holds more than the beginning of a key."""
    return not document.labels and any(word in document.text for word in ("# Pay", "board"))


@pytest.mark.parametrize("seed", range(FOLDERS))
def test_no_document_with_an_attempted_label_is_ever_open(tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    written = {f"{number}.{source.choice(['md', 'txt', 'markdown'])}": mutilated(source) for number in range(60)}
    for name, content in written.items():
        (tmp_path / name).write_bytes(content)
    documents, _ = read(tmp_path)
    assert {name: written[name] for name, document in documents.items() if tells(document)} == {}


@pytest.mark.parametrize("hidden", HIDDEN, ids=ascii)
def test_hidden_bytes_in_no_position_of_front_matter_open_a_document(tmp_path: Path, hidden: bytes) -> None:
    page = HEADS[0] + TEXT.encode()
    for place in range(len(HEADS[0]) + 1):
        (tmp_path / f"{place}.md").write_bytes(page[:place] + hidden + page[place:])
    documents, _ = read(tmp_path)
    assert {name: document.text for name, document in documents.items() if not document.labels} == {}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=300))
def test_any_text_is_scanned_without_a_fault(text: str) -> None:
    found = label_line(text)
    assert found is None or found.number <= text.count("\n") + 1
