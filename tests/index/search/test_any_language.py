"""A word is found in any language, in whatever form it is typed."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from index.encoders.encoder import Encoder
from index.refresh.refresh import refresh
from index.search.search import search
from index.search.settings import SearchSettings
from index.store.snapshot import Snapshot

DOCUMENTS = {
    "de1.md": "# Müller\nHerr Müller öffnet die Bücherei früh.\n",
    "de2.md": "# Meier\nHerr Meier schließt die Halle spät.\n",
    "hi1.md": "# पुस्तकालय\nपुस्तकालय सोमवार को बंद रहता है।\n",
    "hi2.md": "# बाज़ार\nबाज़ार रविवार को खुला रहता है।\n",
    "hi3.md": "# स्कूल\nस्कूल की छुट्टी शनिवार को है।\n",
    "ja1.md": "# 図書館\n図書館は月曜日に休みます。本は二週間借りられます。\n",
    "ja2.md": "# 市場\n市場は日曜日に開いています。魚と野菜を売ります。\n",
    "ja3.md": "# 学校\n学校は土曜日が休日です。\n",
    "ko1.md": "# 도서관\n도서관은 월요일에 쉽니다.\n",
    "ko2.md": "# 시장\n시장은 일요일에 엽니다.\n",
    "th1.md": "# ห้องสมุด\nห้องสมุดปิดวันจันทร์\n",
    "th2.md": "# ตลาด\nตลาดเปิดวันอาทิตย์\n",
    "th3.md": "# โรงเรียน\nโรงเรียนหยุดวันเสาร์\n",
    "zh1.md": "# 图书馆\n图书馆星期一闭馆。猫不能进来。\n",
    "zh2.md": "# 市场\n市场星期天开门。\n",
}


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Snapshot:
    folder = tmp_path_factory.mktemp("languages")
    (folder / "documents").mkdir()
    for name, text in DOCUMENTS.items():
        form = "NFD" if name.startswith("de") else "NFC"
        (folder / "documents" / name).write_text(unicodedata.normalize(form, text), encoding="utf-8")
    refresh(folder / "index", folder / "documents", encoder)
    return Snapshot.open(folder / "index")


@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("月曜日", "ja1.md"),
        ("วันอาทิตย์", "th2.md"),
        ("Müller", "de1.md"),
        ("MÜLLER", "de1.md"),
        ("पुस्तकालय", "hi1.md"),
        ("도서관", "ko1.md"),
        ("월요일", "ko1.md"),
        ("星期天", "zh2.md"),
    ],
)
def test_the_document_with_the_word_comes_first(
    snapshot: Snapshot, encoder: Encoder, mode: str, query: str, document: str
) -> None:
    (hits,) = search(snapshot, encoder, [query], SearchSettings(mode=mode))
    assert hits[0].document_id == document


@pytest.fixture(scope="module")
def snapshot_of_the_case(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Snapshot:
    """An index of `shared/data/reading/93-multilingual` itself; skips if the folder is absent."""
    documents = Path(__file__).parents[4] / "shared" / "data" / "reading" / "93-multilingual"
    if not documents.is_dir():
        pytest.skip(f"needs {documents}")
    folder = tmp_path_factory.mktemp("case") / "index"
    refresh(folder, documents, encoder)
    return Snapshot.open(folder)


@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
@pytest.mark.parametrize(
    ("query", "document"),
    [("月曜日", "ja1.md"), ("วันอาทิตย์", "th2.md"), ("Müller", "de1.md"), ("पुस्तकालय", "hi1.md")],
)
def test_the_words_of_the_case_find_their_documents(
    snapshot_of_the_case: Snapshot, encoder: Encoder, mode: str, query: str, document: str
) -> None:
    (hits,) = search(snapshot_of_the_case, encoder, [query], SearchSettings(mode=mode))
    assert hits[0].document_id == document


def test_a_single_character_finds_the_word_that_it_is(snapshot: Snapshot, encoder: Encoder) -> None:
    for query, document in (("猫", "zh1.md"), ("魚", "ja2.md"), ("本", "ja1.md")):
        (hits,) = search(snapshot, encoder, [query], SearchSettings(mode="lexical"))
        assert [hit.document_id for hit in hits] == [document]
