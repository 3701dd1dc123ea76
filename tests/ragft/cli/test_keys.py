"""`ragft keys`: a key is printed once, its file holds a digest, and what is not understood is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support.commands import Ended
from support.domains import Domain
from test_readme import RAGFT

from ragft.keys import digest_of
from serving.security import Keys

Ragft = Callable[..., Ended]
SHOWN = sorted({shown.words for shown in RAGFT if shown.words[1] == "keys"})


@pytest.fixture
def file(domain: Domain) -> Path:
    values = yaml.safe_load(domain.config.read_text())
    domain.config.write_text(yaml.safe_dump({**values, "serve": {"keys": "keys.txt"}}))
    return domain.folder / "keys.txt"


def test_a_key_is_made_listed_taken_by_the_server_and_revoked(ragft: Ragft, domain: Domain, file: Path) -> None:
    asked = (
        "--scopes",
        "chat,retrieve",
        "--labels",
        "staff",
        "--name",
        "web shop",
        "--expires",
        "90d",
        "--tokens",
        "9",
        "--domain",
        "desk",
        "--domain",
        "hr",
    )
    made = ragft("keys", "new", *asked, "--json", "-c", domain.config).values
    key = made["key"]
    assert key not in file.read_text() and digest_of(key.encode()) in file.read_text()
    listed = ragft("keys", "list", "--json", "-c", domain.config)
    assert key not in listed.out and listed.values["keys"] == [{name: made[name] for name in made if name != "key"}]
    assert made["domains"] == ["desk", "hr"]
    assert made["name"] == "web shop" and made["labels"] == ["staff"] and not made["expired"] and made["tokens"] == 9
    caller = Keys.load(file, {}).caller(key.encode())
    assert caller is not None and caller.id == made["id"] and caller.scopes == {"chat", "retrieve"}
    second = ragft("keys", "new", "-c", domain.config).out.strip()
    assert second.startswith("ragft-") and second not in ragft("keys", "list", "-c", domain.config).out
    assert ragft("keys", "revoke", "web shop", "--json", "-c", domain.config).values["revoked"] == made["id"]
    assert set(Keys.load(file, {}).callers) == {digest_of(second.encode())}


def test_a_line_that_is_not_understood_is_named_and_ends_the_list_with_1(
    ragft: Ragft, domain: Domain, file: Path
) -> None:
    file.write_text(f"chat {'a' * 64}\nchat {'b' * 64} expire=2030-01-31\n")
    ended = ragft("keys", "list", "-c", domain.config)
    assert ended.status == 1 and "aaaaaaaaaaaa" in ended.out and "bbbb" not in ended.out
    assert "keys.txt, line 2: There is no field 'expire'" in ended.err


@pytest.mark.medium
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--scopes", "chat,root"), "There is no scope root"),
        (("--labels", "a,,b"), "The labels 'a,,b'"),
        (("--name", "a=b"), "name of a key"),
        (("--expires", "soon"), "days from now"),
        (("--expires", "2001-01-01"), "over already"),
    ],
)
def test_a_key_that_would_not_be_what_was_asked_is_refused(
    ragft: Ragft, domain: Domain, file: Path, options: tuple[str, ...], sentence: str
) -> None:
    ended = ragft("keys", "new", *options, "-c", domain.config)
    assert ended.status == 2 and sentence in ended.sentence and not file.exists()


def test_without_a_file_of_keys_the_command_says_where_to_name_one(ragft: Ragft, domain: Domain) -> None:
    for words in (("new",), ("list",), ("revoke", "abcd")):
        assert "serve.keys names no file" in ragft("keys", *words, "-c", domain.config).sentence


@pytest.mark.medium
@pytest.mark.parametrize("words", SHOWN, ids=" ".join)
def test_keys_command_works_as_shown(words: tuple[str, ...], ragft: Ragft, domain: Domain, file: Path) -> None:
    file.write_text(f"chat {'0123456789abcdef' * 4} name=web\n")
    ended = ragft(*words[1:], "-c", domain.config)
    assert ended.status == 0 and ended.out, ended.err
