"""A text is read with the letters that it was written in, or it is named; never with others."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.files import reading_case

from index.documents.formats.encoding import decode
from index.documents.formats.encoding_languages import LANGUAGES
from index.documents.formats.settings import Unreadable

TEXTS = {
    "German": "Die Größe der Übergänge in München ist für alle Fußgänger schön und nützlich.",
    "English": "The café is open for all of the guests – it’s “free” and costs £5 or 6 €.",
    "French": "Le règlement de la bibliothèque a été modifié pour les élèves qui sont déjà là, par son créateur.",
    "Spanish": "El niño y la niña están en el jardín de la señora, según el último año.",
    "Portuguese": "A informação não está disponível para os usuários que são do município de São Paulo.",
    "Swedish": "Det är en fråga som är viktig för alla människor och för dem som bor på ön.",
    "Icelandic": "Það er ekki hægt að sjá þetta í myrkri og við verðum að bíða til morguns.",
    "Polish": "Zażółć gęślą jaźń, to jest przykładowy tekst po polsku o ogrodzie i ścieżkach.",
    "Czech": "Žluťoučký kůň se pásl na louce a příliš si toho dne nevšímal, že je už večer.",
    "Hungarian": "Az árvíztűrő tükörfúrógép nem egy hétköznapi eszköz, és ez a legjobb, hogy van.",
    "Romanian": "Aceasta este o propoziţie în limba română şi nu se poate citi în altă limbă.",
    "Turkish": "Kütüphane pazartesi günü kapalıdır ve bu süre bir kez daha uzatılır, için çok şehir.",
    "Lithuanian": "Ši biblioteka yra uždaryta ir kad būtų aišku, tai nėra jos kaltė, bet mūsų šįmet.",
    "Russian": "Это обычный русский текст о документах и поиске по ним, довольно длинный.",
    "Ukrainian": "Це звичайний український текст про документи, який є в цій бібліотеці і не тільки.",
    "Bulgarian": "Това е обикновен български текст за документи, който не е дълъг и се чете от всички.",
    "Greek": "Η βιβλιοθήκη είναι κλειστή τη Δευτέρα και δεν θα ανοίξει για το κοινό από το πρωί.",
    "Hebrew": "הספרייה סגורה ביום שני של השבוע ולא נפתחת גם אם יש בקשה של הקהל.",
    "Arabic": "المكتبة مغلقة في يوم الاثنين من كل أسبوع ولا تفتح إلى أن يأتي يوم الثلاثاء.",
    "Thai": "ห้องสมุดปิดในวันจันทร์และไม่เปิดให้บริการ การยืมหนังสือที่มีได้สองสัปดาห์",
    "Japanese": "図書館は月曜日に休みます。本は二週間借りられます。延長は一回だけできます。",
    "Chinese": "图书馆星期一休息。书可以借两个星期，只能续借一次。请带身份证。",
    "Taiwanese": "圖書館星期一休息。書可以借兩個星期，只能續借一次。請帶身分證。",
    "Korean": "도서관은 월요일에 쉽니다. 책은 두 주 동안 빌릴 수 있습니다.",
}

ENCODINGS = {
    "German": "latin-1 cp1252 cp1250 cp1254", "English": "cp1252", "French": "cp1252", "Spanish": "cp1252",
    "Portuguese": "cp1252", "Swedish": "cp1252 iso8859_15", "Icelandic": "cp1252", "Polish": "cp1250 iso8859_2",
    "Czech": "cp1250 iso8859_2", "Hungarian": "cp1250 iso8859_2", "Romanian": "cp1250 iso8859_2", "Turkish": "cp1254",
    "Lithuanian": "cp1257", "Russian": "cp1251 koi8_r iso8859_5 cp866", "Ukrainian": "cp1251 koi8_u",
    "Bulgarian": "cp1251 iso8859_5", "Greek": "cp1253 iso8859_7", "Hebrew": "cp1255", "Arabic": "cp1256 iso8859_6",
    "Thai": "cp874", "Japanese": "cp932 euc_jp iso2022_jp", "Chinese": "gb18030", "Taiwanese": "big5",
    "Korean": "cp949 iso2022_kr",
}  # fmt: skip


@pytest.mark.parametrize(
    ("language", "encoding"), [(language, name) for language, names in ENCODINGS.items() for name in names.split()]
)
def test_text_of_a_language_is_read_in_each_of_its_encodings(language: str, encoding: str) -> None:
    assert decode(TEXTS[language].encode(encoding)) == TEXTS[language]


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("share", [0.2, 0.5, 2])
def test_part_of_a_text_is_read_as_it_was_written_or_named(language: str, share: float) -> None:
    written = (TEXTS[language] * 2)[: int(len(TEXTS[language]) * share)]
    for encoding in ENCODINGS[language].split():
        try:
            assert decode(written.encode(encoding)) == written
        except Unreadable as error:
            assert "save the file as UTF-8" in str(error)


@given(st.sampled_from(sorted(TEXTS)), st.sampled_from(sorted(TEXTS)), st.booleans())
def test_mixed_encodings_are_named_and_never_misread(first: str, second: str, is_utf8_first: bool) -> None:
    legacy = ENCODINGS[second].split()[0]
    parts = [TEXTS[first].encode(), TEXTS[second].encode(legacy)]
    if parts[1].isascii():
        return
    data = b"\n\n".join(parts if is_utf8_first else reversed(parts))
    with pytest.raises(Unreadable, match="not valid UTF-8 at byte offset"):
        decode(data)


@pytest.mark.parametrize(
    "data",
    [
        "Käse und Brötchen für alle, Öl".encode()[:-2],  # cut off within a letter
        "Käse, Brötchen, Müsli, Öl, naïve façade. Preis 5".encode() + b"\x96 6 Euro",
        TEXTS["German"].encode("cp1252") * 3 + " für ".encode(),
    ],
)
def test_file_that_is_cut_off_or_was_edited_in_another_encoding_is_named(data: bytes) -> None:
    with pytest.raises(Unreadable, match=r"not valid UTF-8 at byte offset \d+ \(line 1\).*save the file as UTF-8"):
        decode(data)


@pytest.mark.parametrize(
    ("label", "data", "expected"),
    [
        ("iso-8859-1", b"caf\xe9 5 \x80", "café 5 €"),
        ("Latin1", b"caf\xe9", "café"),
        ("us-ascii", b"\x93x\x94", "“x”"),
        ("ISO-8859-9", b"\xfe\x80", "ş€"),
        ("gb2312", "镕".encode("gbk"), "镕"),
        ("x-sjis", "①".encode("cp932"), "①"),
        ("ks_c_5601-1987", "똠".encode("cp949"), "똠"),
        ("tis-620", "\u0e01\u201d".encode("cp874"), "\u0e01\u201d"),
        ("iso-8859-2", "ąćęłńóśźż".encode("iso8859_2"), "ąćęłńóśźż"),
        ("utf-16", "größe".encode(), "größe"),
    ],
)
def test_declared_encoding_is_understood_as_browsers_do(label: str, data: bytes, expected: str) -> None:
    assert decode(data, label) == expected


@pytest.mark.parametrize("label", ["utf-16", "utf-7", "no-such-encoding", "hex", "idna"])
def test_declaration_that_cannot_be_true_is_not_followed(label: str) -> None:
    with pytest.raises(Unreadable, match="save the file as UTF-8"):
        decode(b"caf\xe9", label)


def test_encoding_that_the_text_proves_overrides_a_wrong_declaration() -> None:
    assert decode(TEXTS["Russian"].encode("cp1251"), "iso-8859-1") == TEXTS["Russian"]
    assert decode(TEXTS["Taiwanese"].encode("big5"), "gb2312") == TEXTS["Taiwanese"]


def test_declared_encoding_decides_where_the_text_leaves_two() -> None:
    text = "Zarovnanie na stred a nie je to vo výške"
    assert decode(f"{text} ž".encode("iso8859_2"), "iso-8859-2") == f"{text} ž"
    assert decode(f"{text} ľ".encode("cp1250"), "windows-1250") == f"{text} ľ"


def test_letters_beyond_the_sample_count() -> None:
    text = TEXTS["German"] + "\n"
    with pytest.raises(Unreadable):
        decode((text * 2000 + "ğ").encode("cp1254"))
    assert decode((text * 2000).encode("cp1254")) == text * 2000


def test_escape_sequences_that_are_no_text_are_named() -> None:
    with pytest.raises(Unreadable, match="ISO-2022"):
        decode(b"\x1b$B\x7f\x7f rest")
    assert decode(b"\x1b[1mbold\x1b[0m") == "\x1b[1mbold\x1b[0m"


def test_every_language_can_be_written_in_its_encodings() -> None:
    for language in LANGUAGES:
        for encoding in language.encodings:
            writable = {letter for letter in language.letters if letter.encode(encoding, "ignore")}
            assert len(writable) >= len(language.letters) / 2, (encoding, sorted(language.letters - writable))


@pytest.mark.parametrize("name", ["m.md", "t.md"])
def test_file_of_mixed_encodings_is_named(name: str) -> None:
    with pytest.raises(Unreadable, match="mixes encodings or is cut off"):
        decode(reading_case(f"80-mixed-encoding/{name}"))


@pytest.mark.parametrize("encoding", ["big5", "cp1251", "cp1252", "cp1254", "euc_kr", "gb18030", "shift_jis"])
def test_file_of_a_legacy_encoding_is_read_as_it_was_written(encoding: str) -> None:
    data = reading_case(f"81-encodings/{encoding}.txt")
    assert decode(data) == codecs.decode(data, encoding)
