"""Messages are read as the person who received them reads them."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from index.documents.document import Document
from index.documents.formats import format_of
from index.documents.formats.settings import ReadSettings, Unreadable


def read(data: bytes | EmailMessage) -> Document:
    kind = format_of("m.eml")
    assert kind is not None and kind.is_isolated
    (found,) = kind.read("m.eml", data if isinstance(data, bytes) else data.as_bytes(), ReadSettings())
    assert isinstance(found, Document)
    return found


def refusal(data: bytes | EmailMessage) -> str:
    with pytest.raises(Unreadable) as refused:
        read(data)
    return str(refused.value)


def message(text: str = "The port is 8080.\n\n> Which port?\n") -> EmailMessage:
    made = EmailMessage()
    made["From"] = "Jörg Müller <j@example.org>"
    made["To"] = "desk@example.org"
    made["Subject"] = "Größe des Ports"
    made["Date"] = "Wed, 01 May 2024 10:30:00 +0200"
    made.set_content(text)
    return made


def test_a_message_has_its_subject_as_title_and_its_quoted_replies() -> None:
    found = read(message())
    assert (found.title, found.is_markdown) == ("Größe des Ports", False)
    assert found.text == "The port is 8080.\n\n> Which port?"
    assert found.metadata == {
        "from": "Jörg Müller <j@example.org>", "to": "desk@example.org", "date": "2024-05-01T10:30:00+02:00"
    }  # fmt: skip


def test_plain_text_is_preferred_to_html_and_html_is_read_if_there_is_nothing_else() -> None:
    both = message()
    both.add_alternative("<p>The <b>other</b> text.</p>", subtype="html")
    assert read(both).text.startswith("The port is 8080.")
    page = EmailMessage()
    page["Subject"] = "Ports"
    page.set_content("<h2>Ports</h2><p>The port is 8080.</p>", subtype="html")
    found = read(page)
    assert (found.text, found.is_markdown, found.title) == ("## Ports\n\nThe port is 8080.", True, "Ports")


def test_attachments_are_named_and_not_read() -> None:
    made = message()
    made.add_attachment(b"secret,9\n", maintype="text", subtype="csv", filename="Löhne.csv")
    inner = message()
    made.add_attachment(inner)
    found = read(made)
    assert found.text.endswith("> Which port?\n\nAttachments: Löhne.csv, Größe des Ports")
    assert found.metadata["attachments"] == ["Löhne.csv", "Größe des Ports"] and "secret" not in found.text


def test_all_parts_of_a_text_are_read_and_its_pictures_are_no_attachments() -> None:
    parts = "\n".join(
        f"--B\nContent-Type: {kind}\n{more}\n{text}"
        for kind, more, text in [
            ("text/plain", "", "Before the picture.\n"),
            ("image/png; name=logo.png", "Content-ID: <logo>\nContent-Disposition: inline\n", "xx"),
            ("text/plain", "", "After the picture.\n"),
        ]
    )
    head = "From: a@example.org\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n"
    found = read(f"{head}{parts}\n--B--\n".encode())
    assert found.text == "Before the picture.\n\nAfter the picture." and "attachments" not in found.metadata


@pytest.mark.parametrize(
    ("charset", "content"),
    [
        ("iso-8859-1", "“größer” – €".encode("cp1252")),
        ("us-ascii", "“größer” – €".encode("cp1252")),
        ("us-ascii", "“größer” – €".encode()),
        ("utf-8", "“größer” – €".encode()),
        ("utf-16", "“größer” – €".encode("utf-16")),
        ("no-such-charset", "“größer” – €".encode()),
    ],
)
def test_the_declared_encoding_is_used_if_it_fits(charset: str, content: bytes) -> None:
    head = f"From: a@example.org\nContent-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: 8bit\n\n"
    if charset == "utf-16":
        import base64

        head, content = head.replace("8bit", "base64"), base64.b64encode(content)
    assert read(head.encode() + content).text == "“größer” – €"


def test_japanese_mail_is_no_mojibake() -> None:
    head = b"From: a@example.org\nContent-Type: text/plain; charset=iso-2022-jp\n\n"
    assert read(head + "月曜日".encode("iso-2022-jp")).text == "月曜日"


@pytest.mark.parametrize("header", ["Labels", "Label", "Access"])
def test_a_header_that_looks_like_labels_closes_the_message(header: str) -> None:
    made = message()
    made[header] = "board"
    assert header in refusal(made)


def test_headers_of_other_programs_say_nothing_about_access() -> None:
    made = message()
    made["X-Gmail-Labels"] = "Inbox"
    assert read(made).labels == ()


def test_what_is_no_readable_message_is_refused() -> None:
    assert "not a message" in refusal(b"words\n")
    assert "encrypted" in refusal(b"From: a@b.c\nContent-Type: multipart/encrypted; boundary=x\n\n--x\n\nabc\n--x--\n")
    assert refusal(b"From: a@b.c\nSubject: nothing\n\n \n") == "no text"
