"""Which terms a text has, in any language."""

from __future__ import annotations

import unicodedata
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.store.terms import Analysis, query_terms, tokenize


def asked(query: str, language: str = "english") -> list[str]:
    return [group[language] for group in query_terms(query, [language])]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Node.js 4.2", ["node.js", "node", "js", "4.2"]),
        ("MySQL 8.0.36, C++ and C#.", ["mysql", "8.0.36", "c++", "and", "c#"]),
        ("v1.2 of x86_64", ["v1.2", "1.2", "of", "x86_64", "x86", "64"]),
        ("IL‑6", ["il-6", "il", "6"]),  # with a hyphen that does not break
        ("?! …", []),
    ],
)
def test_names_and_versions_stay_whole(text: str, terms: list[str]) -> None:
    assert tokenize(text) == terms


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Releases released", ["releas", "releas"]),
        ("key-value read/write (and) more…less", ["key", "valu", "read", "write", "and", "more", "less"]),
        ("the vendor's and vendor’s", ["the", "vendor", "and", "vendor"]),
        ("IL-6 dependent", ["il-6", "il", "6", "depend"]),
    ],
)
def test_words_are_counted_apart_and_by_their_stem(text: str, terms: list[str]) -> None:
    assert tokenize(text) == terms


@pytest.mark.parametrize(
    ("language", "text", "terms"),
    [
        ("german", "Bibliotheken Größe GRÖSSE", ["bibliothek", "gross", "gross"]),
        ("french", "les bibliothèques", ["le", "bibliothequ"]),
        ("spanish", "bibliotecas", ["bibliotec"]),
        ("russian", "библиотеки", ["библиотек"]),
        ("none", "Bibliotheken releases", ["bibliotheken", "releases"]),
        ("ukrainian", "бібліотеки", ["бібліотеки"]),  # Snowball has no stemmer
    ],
)
def test_words_are_stemmed_in_their_language(language: str, text: str, terms: list[str]) -> None:
    assert tokenize(text, language) == terms


def test_marks_stay_with_their_letters() -> None:
    assert tokenize("पुस्तकालय सोमवार") == ["पुस्तकालय", "सोमवार"]
    assert tokenize("தமிழ் বাংলা עִבְרִית") == ["தமிழ்", "বাংলা", "עִבְרִית"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Mu\u0308ller", "müller"),  # decomposed
        ("ﬁle ﬀ", "file ff"),  # ligatures
        ("ＡＢＣ１２３", "abc123"),  # full width
        ("ﾄｼｮｶﾝ", "トショカン"),  # half width
        ("Straße", "STRASSE"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("İstanbul'da", "istanbul'da"),
        ("٢٠٢٤ २०२४", "2024 2024"),  # digits of other scripts
        ("co\u00adoper\u200bation \ufeffend", "cooperation end"),  # soft hyphen, zero-width space
        ("كتــاب", "كتاب"),  # lengthened
        ("10⁶", "10 6"),  # not 106
        ("2½", "2 1/2"),
        ("CO₂ m²", "co2 m2"),
        ("Java™ 40㎏", "java tm 40 kg"),
    ],
)
def test_forms_of_one_word_are_one_term(one: str, other: str) -> None:
    assert tokenize(one) == tokenize(other) != []


@given(st.text())
def test_composed_and_decomposed_text_has_the_same_terms(text: str) -> None:
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert tokenize(composed) == tokenize(decomposed)
    assert query_terms(composed, ["german"]) == query_terms(decomposed, ["german"])


@given(st.text())
def test_a_text_holds_every_term_that_it_asks_for(text: str) -> None:
    for language in ("english", "german", "none"):
        assert set(asked(text, language)) <= set(tokenize(text, language))


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("月曜日", ["月曜", "曜日", "月", "曜", "日"]),
        ("図書館は", ["図書", "書館", "館は", "図", "書", "館"]),
        ("วันอาทิตย์", ["วัน", "นอ", "อา", "าทิ", "ทิต", "ตย์"]),
        ("도서관은", ["도서", "서관", "관은", "도", "서", "관", "은"]),
        ("C++入門 2024年", ["c++", "入門", "入", "門", "2024", "年"]),
        ("ភាសាខ្មែរ", ["ភាសា", "សាខ្", "ខ្មែ", "មែរ"]),
        ("မြန်မာ", ["မြန်", "န်မာ"]),
    ],
)
def test_scripts_without_spaces_become_neighbouring_characters(text: str, terms: list[str]) -> None:
    assert tokenize(text) == terms


def test_a_query_asks_for_pairs_and_for_a_character_only_if_it_stands_alone() -> None:
    assert asked("月曜日") == ["曜日", "月曜"]
    assert asked("本") == ["本"] and "本" in tokenize("日本語")
    assert asked("책") == ["책"] and "책" in tokenize("책을 읽다")


def test_stop_words_are_asked_for_only_where_there_is_nothing_else() -> None:
    assert asked("When does the support of the Node end?") == ["end", "node", "support"]
    assert asked("Who are the who?") == ["are", "the", "who"]
    assert asked("Wann ist die Bibliothek auf?", "german") == ["bibliothek"]
    assert asked("the support", "none") == ["support", "the"]


def test_a_query_is_asked_in_every_language_word_by_word() -> None:
    groups = query_terms("die houses", ["english", "german"])
    assert groups == [{"english": "die"}, {"english": "hous", "german": "hous"}]
    assert query_terms("release releases", ["english", "none"]) == [
        {"english": "releas", "none": "release"}, {"none": "releases"},
    ]  # fmt: skip


def test_every_thread_stems_alike() -> None:
    words = ["releases", "released", "generously", "dogs", "running"] * 50
    with ThreadPoolExecutor(4) as pool:
        assert len({tuple(found) for found in pool.map(tokenize, [" ".join(words)] * 64)}) == 1


def test_a_language_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="klingon"):
        Analysis("klingon")
