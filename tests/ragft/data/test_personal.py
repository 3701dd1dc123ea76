"""Personal data is found by form and check digits, and a value has one pseudonym wherever it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragft.data.personal import Pseudonyms, find_in_texts, find_personal, labelled, masked, pseudonyms_of
from ragft.errors import UsageError


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        ("email", "ada.lovelace+news@mail.example.org"),
        ("email", "jörg@müller-söhne.de"),
        ("phone", "+49 30 1234567"),
        ("phone", "+44 (0)20 7946 0018"),
        ("phone", "0044 20 7946 0018"),
        ("phone", "(555) 234-1234"),
        ("phone", "555-234-1234"),
        ("phone", "030/1234567"),
        ("phone", "06 12 34 56 78"),
        ("card", "4111 1111 1111 1111"),
        ("card", "378282246310005"),
        ("card", "5555-5555-5555-4444"),
        ("iban", "DE89 3704 0044 0532 0130 00"),
        ("iban", "GB82WEST12345698765432"),
        ("iban", "NO9386011117947"),
        ("iban", "gb82west12345698765432"),
        ("ip", "93.184.216.34"),
        ("ip", "2001:db8::8a2e:370:7334"),
        ("national_id", "078-05-1120"),  # US
        ("national_id", "756.9217.0769.85"),  # CH
        ("national_id", "111.444.777-35"),  # BR
        ("national_id", "2 55 08 14 168 025 38"),  # FR
        ("national_id", "86095742719"),  # DE
        ("national_id", "44051401359"),  # PL
        ("national_id", "2341 2341 2346"),  # IN
        ("national_id", "85.07.30-033.28"),  # BE
        ("national_id", "811228-9874"),  # SE
        ("national_id", "131052-308T"),  # FI
        ("national_id", "12345678Z"),  # ES
        ("national_id", "X1234567L"),  # ES
        ("national_id", "12345678z"),
        ("national_id", "rssmra85t10a562s"),
        ("national_id", "131052-308t"),
        ("national_id", "RSSMRA85T10A562S"),  # IT
        ("national_id", "QQ 12 34 56 C".replace("QQ", "AB")),  # UK
        ("api_key", "ghp_" + "a1B2" * 9),
        ("api_key", "AKIAIOSFODNN7EXAMPLE"),
        ("api_key", "sk-proj-" + "Ab3" * 10),
    ],
)  # fmt: skip
def test_values_are_found_whole_in_a_sentence(kind: str, written: str) -> None:
    text = f"Please note {written}, and answer by Friday."
    (found,) = find_personal(text)
    assert (found.kind, text[found.start : found.end]) == (kind, written)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("phone", "My phone is 7946 0018.", "79460018"),
        ("national_id", "BSN 111222333", "111222333"),
        ("national_id", "NHS number: 943 476 5919", "9434765919"),
        ("national_id", "her SIN is 046 454 286", "046454286"),
        ("api_key", "password: Tr0ub4dor&3", "Tr0ub4dor&3"),
        ("api_key", "API_KEY=f3a9c1d27b6e4810", "f3a9c1d27b6e4810"),
    ],
)
def test_numbers_without_a_form_are_found_behind_their_word(kind: str, text: str, value: str) -> None:
    (found,) = find_personal(text)
    assert (found.kind, found.value) == (kind, value)


@pytest.mark.parametrize(
    "text",
    [
        "On 2028-04-28, is Craft CMS 5.1.2 still supported? 2028-04-30, 2027-12-31.",
        "Version 4.2.1.3 listens on 127.0.0.1, netmask 255.255.255.0.",
        "DE89 3704 0044 0532 0130 01",  # one digit off
        "4111 1111 1111 1112",
        "86095742710",
        "131052-308A",
        "12345678A",
        "The token budget is 16384 tokens, and the secret is patience.",
        "git@github.com:owner/project.git, logo@2x.png",
        "It costs 1,234,567.89 euros, or 1 234 567 in 2024 2025 2026.",
        "ISBN 978-3-16-148410-0 and RFC 9110, 14:05:33, 00:1B:44:11:3A",
        "Call 112. Dial 0 for help.",
        "It grew by +10 000 000 in a year, or by +12 345 678 EUR; use 0644 0755 there.",
        "It sends a bearer token HTTP/1.1 requests, and the api key v2.1.0 format.",
        "EMAIL_k3v7xq5m2abc wrote to PHONE_k3v7xq5m2abc; api key KEY_k3v7xq5m2abc",
    ],
)
def test_dates_versions_and_wrong_check_digits_are_no_personal_data(text: str) -> None:
    assert find_personal(text) == []


def test_a_value_has_one_pseudonym_however_it_is_written() -> None:
    name = Pseudonyms(b"secret")
    first, _ = masked("a@b.example, +49 30 1234567, DE89 3704 0044 0532 0130 00", name)
    again, found = masked("A@B.example, 0049 (0)30-1234567, DE89370400440532013000", name)
    assert first == again and [one.kind for one in found] == ["email", "phone", "iban"]
    other, _ = masked("a@b.example, +49 30 1234567, DE89 3704 0044 0532 0130 00", Pseudonyms(b"other"))
    assert set(first.split(", ")).isdisjoint(other.split(", "))
    assert masked(first, name) == (first, [])  # what is masked stays as it is


def test_what_a_word_told_is_found_wherever_else_it_stands() -> None:
    text, found = masked("BSN 111222333 is his. Yes, 111.222.333 is, not 1112223330. My phone is 7946 0018.", labelled)
    assert text == "BSN ID is his. Yes, ID is, not 1112223330. My phone is PHONE." and len(found) == 3
    asked, answered = find_in_texts(["Is my password Hunter2x9?", "Hunter2x9 is too short, Hunter2x90 is not."])
    assert [one.kind for one in asked] == ["api_key"]
    assert [(one.start, one.end) for one in answered] == [(0, 9)]


def test_texts_that_are_looked_through_together_stay_apart() -> None:
    assert find_in_texts(["The phone number", "79460018", "is the password", "Hunter2x9"]) == [[], [], [], []]
    assert find_in_texts(["Version 4.2.1.3", "4.2.1.3"]) == [[], []]


def test_of_values_that_overlap_the_longest_counts() -> None:
    text, found = masked("card 4111111111111111 from 10.1.2.3", labelled)
    assert text == "card CARD from IP" and len(found) == 2


def test_the_secret_of_a_workspace_stays_and_is_its_owners(tmp_path: Path) -> None:
    (one,) = find_personal("a@b.example")
    assert pseudonyms_of(tmp_path)(one) == pseudonyms_of(tmp_path)(one)
    assert (tmp_path / "pseudonyms.key").stat().st_mode & 0o077 == 0
    assert pseudonyms_of(tmp_path / "other")(one) != pseudonyms_of(tmp_path)(one)
    (tmp_path / "pseudonyms.key").write_text("short")
    with pytest.raises(UsageError, match="64 hex digits"):
        pseudonyms_of(tmp_path)


def test_one_wrong_digit_is_found_by_every_check() -> None:
    for text in ("DE89370400440532013000", "756.9217.0769.85", "111.444.777-35", "44051401359", "2341 2341 2346"):
        digits = [place for place, letter in enumerate(text) if letter.isdigit()][2:]
        for place in digits:
            wrong = text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]
            assert not [one for one in find_personal(wrong) if one.kind in ("iban", "national_id")], wrong
