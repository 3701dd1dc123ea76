"""Where a link leads, for links whose words do not say it."""

from __future__ import annotations

import re
from urllib.parse import unquote, urljoin

from index.documents.formats.html.visible import words

_CONTACT = re.compile(r"(?:mailto|tel|sms):", re.I)
_WEB = re.compile(r"(?:https?|ftp)://", re.I)
_OTHER_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.I)
_LONGEST_EMPTY = 60
_PUNCTUATION = "[](){}<>«»‹›“”\"'.,:;!?…→>-–—"
_LONGEST = 200
"""Longer addresses are cut at their query, which is about sessions and campaigns, or left out."""

_POINTING = words(
    """
    here this these that those link click download page site website more read see visit view following now
    hier dieser diese dieses diesem diesen link seite mehr weiterlesen weiter download
    ici ce cette lien page plus suite télécharger aquí aqui enlace esta este página más mais baixar descargar
    qui questa questo collegamento pagina più scarica deze dit klik klikk klikka meer her här mer mere länk tutaj więcej
    zde více tu здесь тут сюда ссылка подробнее далее
    这里 此处 点击 点击这里 链接 更多 详情 下载 這裡 此處 點擊 點擊這裡 連結 下載
    こちら ここ リンク 詳細 詳しくはこちら ダウンロード 여기 링크 더보기
    """
)
"""Words that point at the link itself."""
_FILLING = words(
    """
    a an and at for go get how in info information is it learn find details of on our out some the them to via you
    an auf bei das dem den der des die finden im in klicken lesen sie unter weitere infos informationen zur zum zu
    cliquez consulter en la le les lire sur savoir voir clic el haga leer ver clique leia saiba
    clicca leggi lees pagina verder läs læs kliknij читать
    """
)
"""Words that say nothing beside them. A link of any other word speaks for itself."""


def unsaid_target(href: str, text: str, base: str) -> str | None:
    """The address behind a link, if its words do not say it; None if they do, or if it leads to a place on its page.

    Args:
        href: the address as the page writes it.
        text: the words of the link.
        base: address that relative ones refer to; may be empty.
    """
    if href.startswith("#") or not text.strip():
        return None
    href = "".join(href.split())
    if not href:
        return None
    if _CONTACT.match(href):
        address = unquote(href.partition(":")[2].partition("?")[0])
        return None if not address or _letters(address) in _letters(text) else address
    if _OTHER_SCHEME.match(href) and not _WEB.match(href):
        return None
    if not _says_nothing(text, is_absolute=bool(_WEB.match(href))):
        return None
    try:
        target = urljoin(base, href)
    except ValueError:
        target = href
    if len(target) > _LONGEST:
        target = target.partition("?")[0]
    return target if len(target) <= _LONGEST else None


def _says_nothing(text: str, is_absolute: bool) -> bool:
    if len(text) > _LONGEST_EMPTY:
        return False
    if not any(map(str.isalpha, text)):
        return is_absolute  # numbers and signs; inside a site they are pages to turn
    found = {word.strip(_PUNCTUATION) for word in text.casefold().split()}
    return not _POINTING.isdisjoint(found) and found <= _POINTING | _FILLING


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())
