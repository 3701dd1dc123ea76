"""The commands of the index that README.md and docs/ show are run, over an index with a snapshot to go back to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.commands import Ended
from support.fakes import Domain
from test_readme import RAGFT

from index.store.snapshot import current_id

# These end when they are told to, want a file that the page describes, or take minutes; tests of their own run them.
ELSEWHERE = {"--watch", "train-encoder", "index.encoder=./encoders/mine"}
SHOWN = sorted({shown.words for shown in RAGFT if shown.words[1] == "index" and not ELSEWHERE & set(shown.words)})


@pytest.mark.usefixtures("loaded_encoder")
@pytest.mark.parametrize("words", SHOWN, ids=" ".join)
def test_index_command_works_as_shown(words: tuple[str, ...], ragft: Callable[..., Ended], domain: Domain) -> None:
    root = domain.workspace / "index"
    assert ragft("index", "build", "-c", domain.config).status == 0
    before = current_id(root)
    domain.page("dogs.md", "# Dogs\n\nA dog barks.\n")
    assert ragft("index", "refresh", "-c", domain.config).status == 0
    placeholders = {"0123456789abcdef": before, "fedcba9876543210": current_id(root)}
    ended = ragft(*(placeholders.get(word, word) for word in words[1:]), "-c", domain.config)
    assert ended.status == 0, ended.err
    assert ended.out
