"""The file of API keys: no line grants more than it says, and what is not understood grants nothing."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragft.errors import UsageError
from ragft.keys import (
    SCOPES,
    Caller,
    add_key,
    digest_of,
    moment,
    new_key,
    parse_keys,
    parse_line,
    revoke_key,
    shown_moment,
)

FILE = Path("keys")
DIGEST = digest_of(b"key")
FIELDS = {
    "domains": "desk,hr", "labels": "staff", "name": "web shop", "expires": "2030-01-31", "requests": "60",
    "tokens": "9000",
}  # fmt: skip
LINE = f"chat {DIGEST} " + " ".join(f"{name}={value}" for name, value in FIELDS.items())

callers = st.builds(
    Caller,
    scopes=st.frozensets(st.sampled_from(sorted(SCOPES)), min_size=1),
    labels=st.none() | st.frozensets(st.sampled_from(["staff", "R&D/a.b", "human resources", "rät:1"])),
    name=st.text(max_size=70),
    expires=st.none() | st.integers(0, 4_000_000_000).map(float),
    requests=st.none() | st.integers(-1, 10**6),
    tokens=st.none() | st.integers(-1, 10**6),
    domains=st.none() | st.frozensets(st.sampled_from(["desk", "hr-2", "a.b", "No", ""])),
)


def granted(line: str) -> Caller | None:
    return parse_keys(line, FILE).callers.get(DIGEST)


def test_a_line_of_scopes_digest_and_labels_is_understood_as_it_always_was() -> None:
    assert granted(f"chat,retrieve\t{DIGEST.upper()}   labels=staff, human  resources\r\n") == Caller(
        frozenset({"chat", "retrieve"}), frozenset({"staff", "human resources"}), id=DIGEST[:12]
    )
    assert granted(f"\ufeff# note\n\nadmin {DIGEST}") == Caller(frozenset({"admin"}), id=DIGEST[:12])


def test_a_line_may_have_a_name_an_end_and_limits_in_any_order() -> None:
    assert granted(LINE) == granted(
        f"chat {DIGEST} tokens=9000 requests=60 expires=2030-01-31 name=web shop labels=staff domains=hr, desk"
    )
    found = granted(LINE)
    assert found is not None and (found.name, found.requests, found.tokens) == ("web shop", 60, 9000)
    assert found.expires == moment("2030-01-31T00:00Z") == moment("2030-01-31T02:00+02:00")
    assert not found.has_expired(moment("2030-01-30T23:59:59Z")) and found.has_expired(moment("2030-01-31"))


@pytest.mark.parametrize(
    "fields",
    [
        "expire=2030-01-31", "expires=tomorrow", "expires=2030-02-30", "expires=2030-01-31T10:00", "expires=",
        "expires=20300131", "expires=2030-W01", "requests=0", "requests=-1", "requests=6e9", "requests=60/h", "tokens=",
        "tokens=\N{ARABIC-INDIC DIGIT FIVE}", "EXPIRES=2030-01-31", "labels=a expires = 2030-01-31", "name=",
        "name=a=b", "labels=staff expires 2030-01-31", "labels=staff expires: 2030-01-31", "name=web requests 5",
        "setups=hybrid", "labels=a labels=b", "requests=5 requests=9", "staff",
        "labels=a\x0bexpires=2030-01-31", "expires=2030-01-31, ",
        "domain=desk", "domains=", "domains=*", "domains=desk,", "domains=Desk", "domains=desk hr", "domains=desk/hr",
        "labels=staff domains desk", "labels=staff,domain: desk", "labels=staff domains = desk", "name=web domain desk",
        "domains=desk domains=hr", "domains=desk",
    ],
)  # fmt: skip
def test_a_line_with_what_is_not_understood_grants_nothing_and_closes_its_key(fields: str) -> None:
    other = digest_of(b"other")
    found = parse_keys(f"chat {DIGEST}\nchat {DIGEST} {fields}\nretrieve {other}\n", FILE)
    assert list(found.callers) == [other]
    assert len(found.faults) == 1 and "keys, line 2: " in found.faults[0]


def test_a_comment_holds_no_line_that_an_editor_does_not_show() -> None:
    for end in ("\x0b", "\x0c", "\x85", "\u2028", "\r"):
        assert not parse_keys(f"# note{end}admin {DIGEST}\n", FILE).callers


def test_a_key_in_the_wrong_place_is_not_repeated() -> None:
    key = new_key()
    for line in (
        f"{key} chat",
        f"chat {key}",
        f"chat {DIGEST} {key}",
        f"chat,{key} {DIGEST}",
        f"chat {DIGEST} name={key}=",
    ):
        (fault,) = parse_keys(line, FILE).faults
        assert key not in fault and key[6:20] not in fault


def test_two_lines_for_one_key_end_with_the_first_and_keep_both_limits() -> None:
    found = granted(f"chat {DIGEST} expires=2030-01-31 requests=9\nadmin {DIGEST} expires=2031-01-31 tokens=5")
    assert found is not None and found.scopes == {"chat", "admin"}
    assert (found.expires, found.requests, found.tokens) == (moment("2030-01-31"), 9, 5)


def test_a_key_with_domains_opens_them_alone_and_one_without_opens_all() -> None:
    found = granted(f"chat {DIGEST} domains=desk, hr\nadmin {DIGEST} domains=hr,desk")
    assert found is not None and found.scopes == {"chat", "admin"}
    assert [found.opens(domain) for domain in ("desk", "hr", "des", "")] == [True, True, False, False]
    assert Caller(frozenset()).opens("desk") and not Caller(frozenset(), domains=frozenset()).opens("desk")


def test_lines_with_different_domains_for_one_key_close_it_because_each_grants_something_else() -> None:
    found = parse_keys(f"admin {DIGEST} domains=desk\nchat {DIGEST} domains=hr\n", FILE)
    assert not found.callers and "keys, line 2: Another line for this key has other domains" in found.faults[0]


@given(st.integers(0, len(LINE)), st.integers(0, 3), st.text(alphabet="=, \t*#:5adexpirstnlc", max_size=3))
def test_no_change_of_a_line_grants_more_than_the_line_says(place: int, removed: int, put: str) -> None:
    text = LINE[:place] + put + LINE[place + removed :]
    for caller in parse_keys(text, FILE).callers.values():
        # Every field that stands there is in force, but for labels of nothing, which open nothing.
        assert text.count("=") <= len(caller.fields()) + (caller.labels == frozenset())
        assert caller.scopes <= set(text.split()[0].split(","))
        assert caller.domains is not None and all(domain in text for domain in caller.domains)
        assert caller.labels is not None or "*" in text
        assert all(label in " ".join(text.split()) for label in caller.labels or ())
        assert all(str(value) in text for value in (caller.requests, caller.tokens) if value is not None)


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",))))
def test_any_text_is_read_and_grants_only_what_lines_of_scopes_and_digests_say(text: str) -> None:
    for digest, caller in parse_keys(f"{text}\n{text} {DIGEST} {text}", FILE).callers.items():
        assert digest in text.lower() + DIGEST and caller.scopes <= SCOPES


@given(callers)
def test_a_key_that_was_made_has_exactly_what_was_asked_or_is_refused(caller: Caller) -> None:
    line = " ".join([",".join(sorted(caller.scopes)), DIGEST, *caller.fields()])
    try:
        digest, read = parse_line(line)
    except UsageError:
        return
    assert digest == DIGEST
    assert (read.scopes, read.labels, read.expires) == (caller.scopes, caller.labels, caller.expires)
    assert read.domains == caller.domains
    assert read.name == caller.name.strip() and (read.requests, read.tokens) == (
        caller.requests or None,
        caller.tokens or None,
    )


def test_a_file_of_keys_is_made_for_its_owner_alone_and_keeps_what_it_does_not_change(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    first, second = new_key(), new_key()
    made = add_key(file, first, Caller(frozenset({"chat"}), name="web", expires=moment("90d", time.time())))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text(f"# ours\n{file.read_text()}admin 123", encoding="utf-8")
    add_key(file, second, Caller(frozenset({"chat"}), name="web"))
    text = file.read_text()
    assert first not in text and second not in text and text.startswith("# ours\n") and "\nadmin 123\n" in text
    assert set(parse_keys(text, file).callers) == {digest_of(first.encode()), digest_of(second.encode())}
    with pytest.raises(UsageError, match="Several keys"):
        revoke_key(file, "web")
    with pytest.raises(UsageError, match=f"No key.*{made.id} web"):
        revoke_key(file, made.id[:3])
    assert revoke_key(file, made.id[:6])[1].id == made.id
    assert revoke_key(file, second)[0] == digest_of(second.encode())
    assert file.read_text() == "# ours\nadmin 123\n" and sorted(tmp_path.iterdir()) == [file]


def test_no_name_names_no_key(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    made = add_key(file, new_key(), Caller(frozenset({"chat"})))
    with pytest.raises(UsageError, match=f"No key.*{made.id}"):
        revoke_key(file, "")
    assert made.id in file.read_text()


def test_a_time_is_shown_as_it_is_read() -> None:
    assert moment(shown_moment(1_900_000_000.0)) == 1_900_000_000.0
    assert moment("2d", 100.5) == 172_900.0
    for text in ("2d", "", "1", "now"):
        with pytest.raises(UsageError, match="no date"):
            moment(text)
