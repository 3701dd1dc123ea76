"""EML: a message, its subject as title; who wrote it to whom, and when, as metadata.

Attachments are named and not read: what is to be found in them should be in the folder as a file of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from email import policy
from email.errors import MessageError
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser
from email.utils import parsedate_to_datetime

from index.documents.document import Document, Metadata, Skipped, Value
from index.documents.formats.encoding import decode
from index.documents.formats.html import page as html
from index.documents.formats.labels import refuse_attempts
from index.documents.formats.properties import front_matter
from index.documents.formats.settings import ReadSettings, Unreadable, refuse_long

_SIDE_FILE = "labels, in a side file"
_KEPT = {"From": "from", "To": "to", "Cc": "cc", "Sensitivity": "sensitivity"}
_ENCRYPTED = frozenset(["multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"])
_REALLY_WINDOWS = frozenset(["iso-8859-1", "latin-1", "latin1", "us-ascii", "ascii"])
"""Encodings that mail programs declare for what is UTF-8 or windows-1252, which has quotes and dashes where they have
control characters."""


def read(name: str, data: bytes, settings: ReadSettings) -> list[Document | Skipped]:
    """One document: the text of a message in full, quoted replies included.

    Raises:
        Unreadable: it is no message, is encrypted, has no text, or has a header that looks like labels.
    """
    try:
        message = BytesParser(policy=policy.default).parsebytes(data)
        if not any(header in message for header in ("From", "Date", "Subject", "Received", "Message-ID")):
            raise Unreadable("not a message: it has no sender, date or subject")
        # What other programs put there for themselves begins with X-: `X-Gmail-Labels` says nothing about access.
        headers = [header for header in message if not header.lower().startswith("x-")]
        refuse_attempts(headers, "the message", read=_SIDE_FILE)
        text, is_markdown, labels = _body(name, message, settings)
        attachments = [_name(part) for part in _attachments(message)]
        if attachments:
            text = f"{text}\n\nAttachments: {', '.join(attachments)}".lstrip("\n")
        title, metadata = _header(message, "Subject"), _metadata(message, attachments)
    except (MessageError, LookupError, ValueError, AttributeError, TypeError, IndexError) as error:
        raise Unreadable(f"not a readable message ({type(error).__name__})") from None
    refuse_long(len(text), settings.limits.characters)
    return [Document.of(name, text, title=title or None, metadata=metadata, labels=labels, is_markdown=is_markdown)]


def _body(name: str, message: EmailMessage, settings: ReadSettings) -> tuple[str, bool, tuple[str, ...]]:
    """The text of a message, whether it is Markdown, and its labels if it has any: plain text rather than HTML."""
    if message.get_content_type() in _ENCRYPTED:
        raise Unreadable("encrypted")
    plain = message.get_body(preferencelist=("plain",))
    # Some programs cut a text into several parts, around pictures or above a footer.
    parts = [plain, *filter(_is_text, message.iter_attachments() if message.is_multipart() else ())]
    text = "\n\n".join(filter(None, (_text(part).strip("\n") for part in parts if part is not None)))
    if text.strip():
        stated, text = front_matter(text)
        return text.strip("\n"), False, stated.labels
    page = message.get_body(preferencelist=("html",))
    source = _text(page) if page is not None else ""
    if source.strip():
        (found,) = html.read(name, source.encode(), settings)
        if isinstance(found, Document):
            return found.text, True, found.labels
    if next(_attachments(message), None) is None:
        raise Unreadable("no text")
    return "", False, ()


def _text(part: MIMEPart) -> str:
    """The text of a part, in the encoding that it declares if it fits."""
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes) or not content:
        return ""
    declared = (part.get_content_charset() or "us-ascii").lower()
    if declared in _REALLY_WINDOWS:
        return decode(content, "windows-1252")
    try:
        # Tried before UTF-8, because text in ISO-2022-JP or UTF-7 is valid UTF-8, too.
        return decode(content.decode(declared).encode())
    except (LookupError, UnicodeError):
        return decode(content)


def _attachments(message: EmailMessage) -> Iterator[MIMEPart]:
    """The files that come with a message; pictures inside its text are none."""
    for part in message.iter_attachments() if message.is_multipart() else ():
        is_picture = part.get_content_maintype() == "image" and "Content-ID" in part and not part.is_attachment()
        if not is_picture and (part.get_filename() or part.get_content_maintype() == "message"):
            yield part


def _is_text(part: MIMEPart) -> bool:
    return part.get_content_type() == "text/plain" and not part.get_filename() and not part.is_attachment()


def _name(part: MIMEPart) -> str:
    named = part.get_filename()
    if not named and part.get_content_type() == "message/rfc822":
        inner = part.get_payload(0) if part.is_multipart() else None
        named = _header(inner, "Subject") if isinstance(inner, EmailMessage) else ""
    return " ".join((named or "message").split())


def _metadata(message: EmailMessage, attachments: list[str]) -> Metadata:
    found: dict[str, Value] = {}
    for header, key in _KEPT.items():
        value = _header(message, header)
        if value:
            found[key] = value
    with contextlib.suppress(ValueError, TypeError, IndexError, OverflowError):  # no date, or one that nobody can read
        found["date"] = parsedate_to_datetime(str(message["Date"])).isoformat()
    if attachments:
        found["attachments"] = [*attachments]
    return found


def _header(message: EmailMessage, name: str) -> str:
    """A header in words; bytes that were not encoded as they should be are replaced."""
    text = " ".join(str(message.get(name, "")).split())
    return text.encode("utf-8", "replace").decode()
