"""Tells the language that a document is written in by its most frequent function words.

The language decides how words are stemmed. It is told for each document on its own, so that it never moves because
other documents come or go, and English wins wherever the evidence is thin: a wrong stemmer does little harm (a query is
stemmed for each passage as the passage was), but an English collection must not depend on the foreign names in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]

# Thirty to sixty for each language, those of questions among them, because a query does not look for them either; more
# for English, so that hardly any English sentence shows none. Single Latin letters are no evidence, because tables and
# code are full of them. Languages that Snowball does not know are here so that they are not taken for a neighbour and
# stemmed as that.
FUNCTION_WORDS = {
    "english": "a about after again all also am an and any are as at be because been being below between both but "
    "by can could did do does doing down during each few for from further had has have having he her here hers "
    "him his how i if in into is it its itself just me more most my no nor not now of off on once only or other "
    "our out over own same she should so some such than that the their them then there these they this those "
    "through to too under until up very was we were what when where which while who whom why will with would you "
    "your",
    "arabic": "في من على إلى أن عن التي الذي هذا هذه ما لا مع كان كانت أو لم قد بعد بين كل ذلك هو هي ثم حتى كما "
    "عند غير إن متى أين كيف ماذا هل لماذا وقد وفي ومن عليه فيه منه لها له كانوا يكون تكون أي بعض",
    "armenian": "է և են որ եւ այս իր մեջ համար հետ էր որը նա են մի այդ նրա ու էին ոչ որպես կամ բայց մասին պետք "
    "դեպի շատ եմ իսկ ինչ",
    "basque": "eta da ez du bat dira dute izan zen ere edo baina hau hori bere dela duen zuen beste baino dago "
    "ziren egin behar baita zuten ditu den arte bezala",
    "bulgarian": "на да се от за по са не че със като до при или това който която което след през към беше има "
    "може само още във как тя бе",
    "catalan": "de la que el els en per amb les del un una és es al no com més han dels va ha són aquest també "
    "però als seva pel ser",
    "czech": "se na je že to pro jako ale od po jsou byl do který při nebo podle jeho také která bylo která by "
    "jen již může však být až ze když kdy kde kdo co jaký jaká kolik byli bude nebyl tím této tento tak bez nad "
    "pod před proto protože",
    "danish": "og at en den til er som på de med han af for ikke der var mig sig men et har om vi havde nu over "
    "da fra du blev hvad hvornår hvor hvem hvordan kan skal vil eller efter ved være blive alle også meget denne "
    "dette hun sin",
    "dutch": "de en van het een in is dat op te zijn met voor niet aan er om ook als dan maar bij nog uit door "
    "over naar wordt werd hij wanneer waar wie wat hoe zij deze dit heeft hebben was waren of wel geen meer kan "
    "kunnen moet u uw wij worden zich tot",
    "esperanto": "la de kaj en estas al por ne ke mi li ĝi estis el kiu kun sed ili ni oni tiu ankaŭ per pri kiel "
    "aŭ pli kiuj tio post",
    "estonian": "ja on ei et ta kui ka oli see mis aga või ning seda kes nii ma oma siis selle olid juba olla "
    "pole välja kuid veel tema need üks",
    "finnish": "ja on ei se että oli hän mutta ovat kun myös tai joka ole jos niin kuin sen ollut hänen olla "
    "jotka sekä mukaan sitä vain nyt siitä mitä tämä milloin missä kuka mikä miten voi olisi tämän näin jonka "
    "kanssa jälkeen ennen jo vielä ne he me te",
    "french": "de la le et les des en un du une que est pour qui dans par plus pas au sur ne se ce il sont avec "
    "aux cette ou été qu est-ce quand où comment quel quelle je vous nous elle on mais comme tout si leur sans "
    "être ont fait d'une c'est",
    "german": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden "
    "aus er hat dass sie nach was wann wo wer wie sind war wird kann bei zum zur oder aber nur noch so wenn ich "
    "wir ihr sein haben um vor unter keine",
    "greek": "και το να του της την η με για που από στο ο των τα τον στην οι είναι σε θα δεν στη ότι ή μια τη "
    "τους ένα αλλά πότε πού ποιος πώς τι έχει ήταν όταν αν κατά μετά πριν όπως αυτό αυτή μας σας",
    "hindi": "के का की में है को से और पर ने हैं यह कि भी लिए एक कर हो इस था नहीं तो रहता वह ही थे थी जो किया "
    "अपने या कब कहाँ कौन क्या कैसे कितना जब तक बाद साथ बहुत जा सकता सकते सकती गया गई रहे रहा होता होती",
    "hungarian": "az és hogy nem is egy ez meg csak de ha volt már mint vagy ki el azt még minden ezt van kell "
    "lesz ami amely sem után így pedig mikor hol mi hogyan mert itt ott lehet volna nincs vannak azok ezek által "
    "során szerint között",
    "indonesian": "yang dan di dengan untuk ini itu dari dalam tidak pada ke akan adalah juga oleh atau sebagai "
    "mereka ada bisa telah karena lebih saya sudah kami dapat orang tersebut",
    "irish": "an na agus ar is le go bhí ag ní don ach sé tá sin san mar den sa seo atá siad aon leis bhfuil "
    "raibh gur nach chuig faoi",
    "italian": "di che la il un per in una è non del si della con le da sono come più al dei alla nel ma delle "
    "gli anche lo questo ha quando dove chi quale cosa sul sulla nella dal dalla stato essere hanno può se mi "
    "questa sua tra perché ogni",
    "lithuanian": "ir kad su tai yra iš bet ne jis kaip tik dar buvo už po apie jau ar taip kai nuo per prie į jo "
    "labai tačiau arba savo iki",
    "marathi": "आहे आणि या च्या मध्ये ते हे तो ती नाही होते आहेत होता केली केला त्या हा असे म्हणून एक व की पण मी "
    "त्यांनी झाली झाले करून साठी होती",
    "nepali": "छ र को मा पनि हो छन् यो गर्न भने लागि लाई तर गरेको एक भएको गर्ने थियो ले बाट यस त्यो नै हुन्छ गरी "
    "के वा उनले हुने भयो",
    "norwegian": "og det at en den til er som på de med han av ikke der var meg seg men et har om vi fra du hun "
    "ble skal opp eller hva når hvor hvem hvordan kan vil etter ved være bli alle også denne dette sin noe bare",
    "persian": "در به از که این را با است برای آن یک خود تا کرد بر هم نیز می شود شده بود ها اما باید دو هر کند شد "
    "او یا کی کجا چگونه چه چرا هستند نیست همه باشد دارد کنید شما من ما آنها",
    "polish": "na się nie do że to jest jak za od po przez dla przy ale czy był tym jego są oraz które tylko być "
    "już może jako który ze ich kiedy gdzie kto co jaki jaka ile można będzie było a i w z o u nad pod bez tak "
    "więc ma przed został została",
    "portuguese": "de que do da em um para com não uma os no se na por mais as dos como mas ao das foi ele sua ou "
    "ser pelo pela são quando onde quem qual você está também até isso ela entre sem mesmo aos seu muito já nos "
    "eu foram há",
    "romanian": "de în la cu și pe nu să care din că pentru un este ca sau mai fost prin după dar lui al au era "
    "ale acest sunt fi iar când unde cine cum fiind fără între până decât aceste această lor noi",
    "russian": "и в не на что с по как это к из у за от для о но он его при или так быть был может также она все "
    "они только когда где кто какой какая сколько эта этот эти нет есть если уже под до без будет были ли чтобы "
    "через",
    "serbian": "je da se na za su od kao što ali bi iz koji do ili koja bio biti није је да се на за су од као "
    "што али који или",
    "sesotho": "ho le ka ya ba ke ha mme wa tse tsa bona hore hae ena sa jwang kgotsa bao yona empa fela jwalo "
    "etsa ne na eo tsena leha moo",
    "slovak": "sa na je že to ako ale aj pre po od sú pri alebo by bol do ktorý ktorá podľa jeho bolo len už môže "
    "však byť až keď čo",
    "spanish": "de la que el en los se del las un por con no una su para es al lo como más pero sus le ha este sí "
    "porque esta entre qué cuándo dónde cómo quién cuál y está son fue desde cuando muy sin sobre también hasta "
    "hay donde pueden puede me ya todo están",
    "swedish": "och att det som en på är av för med till den har de inte om ett han men var jag sig från vi så "
    "kan när eller skulle under vad hur vem ska hade blir mot vid efter upp här där utan alla detta dessa finns "
    "mycket bara",
    "tamil": "மற்றும் ஒரு என்று இந்த அந்த உள்ள இது அது ஆகும் என்ற என அவர் பல இல்லை கொண்ட வேண்டும் மேலும் என்பது "
    "அல்லது ஆனால் போன்ற தான் மீது பற்றி மூலம் இருந்து நான் நீ அவன் முதல்",
    "turkish": "ve bir bu için ile da de olarak çok daha olan gibi ne ama kadar sonra en ise var o olduğu ya "
    "değil her mi ki tarafından göre veya diye nasıl nerede kim hangi neden çünkü hem ancak ben sen biz onlar şey "
    "kendi önce üzere",
    "ukrainian": "і в не на що з та до як це у за від для але він його при або так бути був може також вона ще "
    "вони тільки є й коли де хто який яка скільки ця цей ці немає якщо вже під без буде були чи щоб",
    "urdu": "کے کی میں ہے کا سے کو اور اس نے ہیں پر یہ کہ ایک بھی تھا نہیں تو کر ہو گیا لیے وہ تھے جو کیا ہی ان "
    "یا",
    "vietnamese": "và của là có các một cho được không trong những với người này đã để khi đến từ về như ra vào "
    "trên tại bị cũng nhưng nhiều hay",
    "yiddish": "און די דער אין צו איז פון דאס האט מיט ער נישט אויף זיך אַז וואָס אז א עס אַ וואס זענען אבער ווי "
    "אויך זיי פֿון פאר ניט האָט",
}  # fmt: skip

LANGUAGES = ("none", *FUNCTION_WORDS)
"""What a passage's language can be; its place here is what postings store."""

_ENGLISH = LANGUAGES.index("english")
_MIN_WORDS = 3
_MIN_SHARE = 0.05
"""Function words that a language other than English must show beyond twice as many as English, and their share of the
words. Prose in any of these languages has a larger share; an English table with a few foreign names has not."""

_MIN_WORDS_IF_SHORT = 2
_MIN_SHARE_IF_SHORT = 0.2
"""The same for a document without any English ones, which may be a single sentence."""


def _single_latin_letter(word: str) -> bool:
    return len(word) == 1 and word.isascii()


_SPEAKERS: dict[str, list[int]] = {}
"""The codes of the languages that a word is a function word of."""
for _code, _words in enumerate(FUNCTION_WORDS.values(), start=1):
    for _word in sorted(set(_words.split())):
        if not _single_latin_letter(_word):
            _SPEAKERS.setdefault(_word, []).append(_code)


def code_of(language: str) -> int:
    """What stands for a language in postings; raises ValueError for one that is not known."""
    return LANGUAGES.index(language)


def languages_of(vocabulary: Sequence[str], words: Numbers, documents: Numbers, count: int) -> Codes:
    """The language of each document: (count,) codes.

    Args:
        vocabulary: the distinct words, in lower case.
        words: (n,) places in the vocabulary of all words of all documents.
        documents: (n,) number of the document, from 0, that each of the words is in.
    """
    chosen = np.full(count, _ENGLISH, dtype=np.uint8)
    speakers = [_SPEAKERS.get(word) for word in vocabulary]
    known = np.array([found is not None for found in speakers], dtype=np.bool_)
    kept = np.flatnonzero(known[words])
    words, within = words[kept], documents[kept]
    lengths = np.bincount(documents, minlength=count)

    def counted(chosen_words: npt.NDArray[np.bool_]) -> Numbers:
        return np.bincount(within[chosen_words[words]], minlength=count)

    # The most that any language can show: all words that are not English, against the English ones that no other
    # language has. Where even that would not do, as in nearly all English documents, no language is counted by itself.
    english = np.array([found is not None and _ENGLISH in found for found in speakers], dtype=np.bool_)
    only_english = np.array([found == [_ENGLISH] for found in speakers], dtype=np.bool_)
    undecided = _is_sure(counted(known & ~english), counted(only_english), lengths)
    if not undecided.any():
        return chosen
    kept = np.flatnonzero(undecided[within])
    words, within = words[kept], within[kept]
    spoken = np.zeros((len(LANGUAGES), len(vocabulary)), dtype=np.bool_)
    for place in np.flatnonzero(known).tolist():
        spoken[speakers[place], place] = True
    # A word of both languages speaks for neither.
    own = np.stack([counted(of_language & ~english) for of_language in spoken])
    rival = np.stack([counted(english & ~of_language) for of_language in spoken])
    best = own.argmax(axis=0)
    rows = np.arange(count)
    sure = undecided & _is_sure(own[best, rows], rival[best, rows], lengths)
    chosen[sure] = best[sure]
    return chosen


def _is_sure(found: Numbers, in_english: Numbers, lengths: Numbers) -> npt.NDArray[np.bool_]:
    """Whether so many function words of another language show that documents of these lengths are not in English."""
    prose = (found >= 2 * in_english + _MIN_WORDS) & (found >= _MIN_SHARE * lengths)
    short = (in_english == 0) & (found >= _MIN_WORDS_IF_SHORT) & (found >= _MIN_SHARE_IF_SHORT * lengths)
    sure: npt.NDArray[np.bool_] = prose | short
    return sure
