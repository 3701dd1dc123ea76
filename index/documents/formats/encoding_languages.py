"""Letters and frequent words of languages, and the encodings of one byte per character in which their texts are found.

By these, a text that was decoded with a wrong encoding is told from a right one: `haftalýðýna` has letters that Turkish
does not have. Letters of names and loan words are included as far as they are common.
"""

from __future__ import annotations

from dataclasses import dataclass

_WESTERN = ("cp1252", "iso8859_15")
_CENTRAL = ("cp1250", "iso8859_2")
_BALTIC = ("cp1257",)
_TURKISH = ("cp1254",)
_SHARED = "áâäçéëíîóôöúüßšž"
"""Letters at the same place in the encodings of western and of central Europe; names may hold them in any language."""
_RUSSIAN = ("cp1251", "koi8_r", "iso8859_5", "cp866")
_CYRILLIC = ("cp1251", "iso8859_5")


@dataclass(frozen=True, slots=True)
class Language:
    """A language as a decoded text shows it.

    Attributes:
        letters: its letters beyond a to z, in lower case.
        words: frequent short words; for a script without spaces, frequent syllables.
        encodings: the encodings of its texts, the more common ones first.
        has_spaces: whether spaces stand between its words.
    """

    letters: frozenset[str]
    words: frozenset[str]
    encodings: tuple[str, ...]
    has_spaces: bool = True

    @property
    def is_latin(self) -> bool:
        """Whether it is written in Latin letters."""
        return min(self.letters) < "\u0250"


def _language(encodings: tuple[str, ...], letters: str, words: str, has_spaces: bool = True) -> Language:
    shared = _SHARED if encodings[0] in ("cp1250", "cp1252") else ""
    return Language(frozenset(letters + shared), frozenset(words.split()), encodings, has_spaces)


def _span(first: str, last: str) -> str:
    return "".join(map(chr, range(ord(first), ord(last) + 1)))


LANGUAGES = (
    _language(_WESTERN, "éèêàñïå", "the and of to in is for that with on not are as be this by or it from you"),
    _language(
        _WESTERN, "äöüßéèêáàçñåóí",
        "der die das und ist in den nicht von mit für auf ein eine zu sich des dem im werden wird oder bei nach über am"
    ),
    _language(
        _WESTERN, "àâæçéèêëîïôœùûüÿöñ",
        "le la les de des du et un une est en que pour dans pas sur au par qui avec ce il ne ou sont à aux"
    ),
    _language(
        _WESTERN, "áéíóúñüïçºª", "el la los las de del y en que un una es para por con no se al como su está o más sin"
    ),
    _language(
        _WESTERN, "àèéìíîòóùúü",
        "il la le di e che un una per con non in del è sono da si al della i lo dei nel o"
    ),
    _language(
        _WESTERN, "áâãàçéêíóôõúüºª",
        "o a os as de do da e em que um uma para por com não no na se é dos ao ou mais está"
    ),
    _language(_WESTERN, "áàéèíïóòúüçñ·", "el la els les de del i en que un una és per amb no al com o dels més aquest"),
    _language(
        _WESTERN, "éèëïöüáàóíúêâç",
        "de het een en van in is op te dat niet voor met zijn die aan er om bij of als"
    ),
    _language(
        _WESTERN, "åäöéàü",
        "och att det som en på är av för med den till inte om ett i har de kan eller från vid"
    ),
    _language(
        _WESTERN, "æøåéèêòóôäöü",
        "og at det som en på er av af for med den til ikke om et i har de kan eller fra ved du der vil skal"
    ),
    _language(_WESTERN, "äöåšžéü", "ja on ei se että kun oli tai ovat myös mutta joka ole voi kuin jos hän niin tämä"),
    _language(
        _WESTERN, "áéíóúýþæöð",
        "og að í á er ekki um við það sem til en með fyrir af eru ekki eða hann verið frá"
    ),
    _language(_WESTERN, "äöõüšžé", "ja on ei et see kui oli ka või mis ta oma seda aga kes siis selle ole pole veel"),
    _language(_WESTERN, "áéíóúàèìòù", "an agus na a ar i is le do go ní sé sin bhí tá mar ag air nach leis atá chun"),
    _language(
        ("cp1252", "iso8859_14"), "âêîôûŵŷáéíóúàèìòùäëïöẃ", "y yr i o a yn ar ei am gan nad dim wedi mae ac yw ni fel"
    ),
    _language(_WESTERN, "ëçâêé", "të e në dhe i një për me që nga është si nuk do u më së ka kjo ky por duke jo janë"),
    _language(
        _CENTRAL, "ąćęłńóśźżéüöä", "w i na z się nie do to że jest o jak po a dla od przez lub są co za być który można"
    ),
    _language(
        _CENTRAL, "áčďéěíňóřšťúůýžöüä", "a v na je se že to s z do o pro k i ve by za jako od po nebo jsou při není být"
    ),
    _language(
        _CENTRAL, "áäčďéíĺľňóôŕšťúýžöü", "a v na je sa že to s z do o pre k i vo by za ako od po alebo sú pri nie byť"
    ),
    _language(
        _CENTRAL, "áéíóöőúüűä", "a az és hogy nem egy is ez van meg de ha vagy csak ki el mint már kell még volt lehet"
    ),
    _language(
        _CENTRAL, "ăâîşţșțé", "și şi de în la a cu nu o pe un din este că ce pentru care sau mai să al ale prin fi sunt"
    ),
    _language(_CENTRAL, "čćđšžéö", "i u je na se da za su od ne s o to kao iz do ili a koji po biti nije sa kako te"),
    _language(
        _CENTRAL, "čšžćđéöü",
        "in je na se v da za so od ne z ki po pri ali kot iz do bi to ni sta lahko še tudi"
    ),
    _language(_CENTRAL, "ëçâêé", "të e në dhe i një për me që nga është si nuk do u më së ka kjo ky por duke jo janë"),
    _language(
        _TURKISH, "çğıöşüâîûé",
        "ve bir bu için ile da de çok olan gibi iki daha her ne o kadar olarak en ya var veya"
    ),
    _language(
        _BALTIC, "ąčęėįšųūžéü",
        "ir kad į yra iš su tai o ne kaip bet nuo ar po prie už jo buvo tik dėl gali jei"
    ),
    _language(
        _BALTIC, "āčēģīķļņšūžõ",
        "un ir ar no ka uz par tas kas bet pie vai nav lai to arī pēc kā es tiek var ja"
    ),
    _language(_BALTIC, "äöõüšžé", "ja on ei et see kui oli ka või mis ta oma seda aga kes siis selle ole pole veel"),
    _language(
        _RUSSIAN, _span("а", "я") + "ё",
        "и в не на что с по для это как из от за к а то он но или при у о если так же есть может быть бы до"
    ),
    _language(
        ("cp1251", "koi8_u", "iso8859_5"), _span("а", "щ") + "ьюяєіїґ",
        "і в не на що з та для це як від за до у або при є якщо по він але так про бути може а й"
    ),
    _language(
        _CYRILLIC, _span("а",
        "ъ") + "ьюяѝ", "и в не на че с за да се от е по като или са при до това ако а ще към"
    ),
    _language(
        _CYRILLIC, "абвгдђежзијклљмнњопрстћуфхцчџш",
        "и у је на се да за су од не с о то као из до или а који по са"
    ),
    _language(
        _CYRILLIC, "абвгдѓежзѕијклљмнњопрстќуфхцчџшѐѝ",
        "и во на се да за со од не е што како или по до ги го ќе"
    ),
    _language(_CYRILLIC, _span("а", "я") + "ёіў", "і ў не на што з па для гэта як з ад за да але ці пры у о калі так"),
    _language(
        ("cp1253", "iso8859_7"), _span("α", "ω") + "άέήίόύώϊϋΐΰ",
        "και το του της η ο να με για που σε από είναι την τον τα οι δεν των στο στη θα ένα ή αν μια"
    ),
    _language(
        ("cp1255", "iso8859_8"), _span("\u05d0", "\u05ea") + _span("\u05b0", "\u05c7"),
        "של את על לא הוא עם זה גם אם או כל היא אל כי יש מה כדי אני רק אין בין להיות"
    ),
    _language(
        ("cp1256", "iso8859_6"), _span("\u0621", "\u0652") + "پچژگکی\u200c\u200d",
        "في من على إلى أن هذا لا ما التي عن مع هذه أو و كان الذي إذا لم قد هو هي به که در از این را با است برای"
    ),
    _language(
        ("cp874",), _span("\u0e01", "\u0e3a") + _span("\u0e40", "\u0e4e"),
        "การ ที่ และ เป็น ของ ใน ไม่ มี ได้ จะ ให้ ว่า นี้ จาก หรือ วัน", has_spaces=False
    ),
)  # fmt: skip
