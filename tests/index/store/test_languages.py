"""In which language a document is written."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import Stemmer

from index.store.languages import FUNCTION_WORDS, LANGUAGES, languages_of
from ragft.config.index import Language


def told(*documents: str) -> list[str]:
    number: dict[str, int] = {}
    words = [number.setdefault(word, len(number)) for text in documents for word in text.lower().split()]
    rows = np.repeat(np.arange(len(documents)), [len(text.split()) for text in documents])
    codes = languages_of(list(number), np.array(words, dtype=np.int64), rows, len(documents))
    return [LANGUAGES[code] for code in codes]


SENTENCES = {
    "arabic": "المكتبة مغلقة يوم الاثنين و يمكن إعادة الكتب التي تم استعارتها إلى المكتب في أي وقت من اليوم.",
    "catalan": "La biblioteca és tancada el dilluns i els llibres es poden tornar al taulell, però no els dels altres.",
    "danish": "Biblioteket er lukket om mandagen, og de bøger, du har lånt, kan afleveres, men ikke af andre.",
    "dutch": "De bibliotheek is op maandag gesloten en de boeken die u leent kunnen aan de balie worden gebracht.",
    "english": "The library is closed on Monday, and the books that you have borrowed can be returned at the desk.",
    "finnish": "Kirjasto on suljettu maanantaisin ja kirjat, jotka olet lainannut, voi tuoda, mutta se ei ole pakko.",
    "french": "La bibliothèque est fermée le lundi et les livres que vous avez empruntés sont rendus au comptoir.",
    "german": "Die Bücherei ist am Montag geschlossen, und die Bücher können an der Theke abgegeben werden.",
    "greek": "Η βιβλιοθήκη είναι κλειστή τη Δευτέρα και τα βιβλία που έχετε δανειστεί μπορούν να επιστραφούν.",
    "hindi": "पुस्तकालय सोमवार को बंद रहता है और पुस्तकों को काउंटर पर वापस किया जा सकता है।",
    "italian": "La biblioteca è chiusa il lunedì e i libri che hai preso in prestito si rendono al banco.",
    "persian": "کتابخانه در روز دوشنبه بسته است و کتاب هایی که امانت گرفته شده را می توان به میز برگرداند.",
    "polish": "Biblioteka jest zamknięta w poniedziałek, a książki, które są wypożyczone, można oddać przez internet.",
    "russian": "Библиотека закрыта в понедельник, и книги, которые вы взяли, можно вернуть на стойке или по почте.",
    "spanish": "La biblioteca está cerrada los lunes y los libros que se han prestado se devuelven en la mesa.",
    "swedish": "Biblioteket är stängt på måndagar och de böcker som du har lånat kan lämnas tillbaka vid disken.",
    "turkish": "Kütüphane pazartesi günü kapalıdır ve kitaplar daha sonra iade edilebilir, ama bu zorunlu değil.",
    "ukrainian": "Бібліотека закрита у понеділок, і книги, які ви взяли, можна повернути поштою, але не в неділю.",
}  # fmt: skip


def test_a_sentence_shows_its_language() -> None:
    assert told(*SENTENCES.values()) == list(SENTENCES)


def test_each_document_is_told_by_its_own_words_alone() -> None:
    for language, sentence in SENTENCES.items():
        assert told(sentence) == [language]


def test_a_short_sentence_shows_its_language_if_nothing_speaks_for_english() -> None:
    assert told("Die Bibliotheken sind geschlossen.", "Les bibliothèques sont fermées.") == ["german", "french"]
    assert told("Los libros y las revistas.", "De bibliotheken zijn gesloten.") == ["spanish", "dutch"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x = 1 ; y = 2 ; e i o a z y x e i o a de",
        "Der Spiegel reported that the author of Die Blechtrommel was born in the city on this day.",
        "図書館は月曜日に休みます。",
        "Los Angeles 3.8 million",
    ],
)
def test_where_the_evidence_is_thin_it_is_english(text: str) -> None:
    assert told(text) == ["english"]


def test_every_stemmer_of_snowball_can_be_configured_and_told() -> None:
    stemmers = set(Stemmer.algorithms()) - {"porter", "dutch_porter"}
    assert stemmers <= FUNCTION_WORDS.keys()
    assert set(get_args(Language)) == stemmers | {"auto", "none"}
