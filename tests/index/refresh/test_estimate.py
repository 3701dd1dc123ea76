"""How long a refresh will take is measured, never guessed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from support.indexes import HashEncoder, Write

from index.refresh import estimate as module
from index.refresh.estimate import RATES, SAMPLE, estimate, remember_rate
from index.refresh.refresh import refresh

PASSAGES = ["ten chars."] * 50


class Clock:
    """A clock that advances only while the encoder works, at this rate."""

    def __init__(self, encoder: HashEncoder, characters_per_second: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        real = encoder.encode_passages

        def encode(texts, progress=None):  # type: ignore[no-untyped-def]
            self.now += sum(map(len, texts)) / characters_per_second
            return real(texts, progress)

        monkeypatch.setattr(encoder, "encode_passages", encode)
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)


def test_unknown_rate_is_measured_on_some_passages_from_all_over(
    tmp_path: Path, fake: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(fake, 100, monkeypatch)
    passages = [f"passage {number:02}" for number in range(64)]
    found = estimate(tmp_path, fake, passages)
    assert (found.seconds, found.characters_per_second, found.basis) == (6.4, 100.0, "sample")
    tried = set(fake.encoded)
    assert len(tried) == SAMPLE and {passages[0], passages[60]} <= tried
    assert not list(tmp_path.iterdir())


def test_rate_of_the_last_refresh_is_used_without_encoding(tmp_path: Path, fake: HashEncoder) -> None:
    remember_rate(tmp_path, fake, PASSAGES, seconds=2.0)
    found = estimate(tmp_path, fake, PASSAGES[:10])
    assert (found.seconds, found.characters_per_second, found.basis) == (0.4, 250.0, "last refresh")
    assert fake.encoded == []


def test_rate_belongs_to_its_encoder(tmp_path: Path, fake: HashEncoder) -> None:
    other = HashEncoder(fake.tokenizer, seed="-other")
    remember_rate(tmp_path, other, PASSAGES, seconds=2.0)
    assert estimate(tmp_path, fake, PASSAGES).basis == "sample"
    remember_rate(tmp_path, fake, PASSAGES, seconds=1.0)
    rates = [estimate(tmp_path, encoder, PASSAGES).characters_per_second for encoder in (other, fake)]
    assert rates == [250.0, 500.0]


def test_refresh_too_short_to_tell_is_not_remembered(tmp_path: Path, fake: HashEncoder) -> None:
    remember_rate(tmp_path, fake, PASSAGES, seconds=module.TELLING_SECONDS / 2)
    assert not (tmp_path / RATES).exists()


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]", b'{"x": "fast"}', b'{"ENCODER": 0}', b'{"ENCODER": -3}'])
def test_damaged_file_of_rates_is_measured_around(tmp_path: Path, fake: HashEncoder, content: bytes) -> None:
    (tmp_path / RATES).write_bytes(content.replace(b"ENCODER", fake.fingerprint.encode()))
    assert estimate(tmp_path, fake, PASSAGES).basis == "sample"
    remember_rate(tmp_path, fake, PASSAGES, seconds=2.0)
    assert estimate(tmp_path, fake, PASSAGES).basis == "last refresh"


def test_rate_that_cannot_be_kept_is_no_error(tmp_path: Path, fake: HashEncoder) -> None:
    (tmp_path / RATES).mkdir()
    remember_rate(tmp_path, fake, PASSAGES, seconds=2.0)
    assert estimate(tmp_path, fake, PASSAGES).basis == "sample"


def test_refresh_keeps_its_rate_and_a_dry_run_estimates_by_it(
    tmp_path: Path, write: Write, fake: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "index"
    Clock(fake, 10, monkeypatch)
    folder = write({"fox.md": "# Fox\n\nThe red fox hunts at dusk.\n"})
    dry = refresh(root, folder, fake, dry_run=True).estimate
    assert dry is not None and (dry.basis, dry.characters_per_second) == ("sample", 10.0) and not root.exists()
    done = refresh(root, folder, fake)
    assert done.estimate is None and done.seconds["embed"] == pytest.approx(dry.seconds, abs=0.01)
    assert json.loads((root / RATES).read_text()) == {fake.fingerprint: pytest.approx(10)}
    nothing = refresh(root, folder, fake, dry_run=True).estimate
    assert nothing is not None and (nothing.seconds, nothing.basis) == (0.0, "nothing to encode")
    more = write({"fox.md": "# Fox\n\nThe red fox hunts at dusk.\n", "owl.md": "# Owl\n\nIt hoots.\n"})
    expected = refresh(root, more, fake, dry_run=True).estimate
    assert expected is not None and (expected.basis, expected.seconds) == ("last refresh", 1.3)
