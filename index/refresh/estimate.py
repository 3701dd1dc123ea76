"""How long encoding will take on this machine: by the rate of the last refresh, or by trying a few passages."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from index.encoders.encoder import TextEncoder

RATES = "rates.json"
"""File in the folder of an index: characters per second of each encoder, by fingerprint."""

TELLING_SECONDS = 0.5
"""Shortest encoding whose rate is kept; a shorter one measures the start more than the encoding."""

SAMPLE = 16
"""Passages that are encoded to measure a rate where none is known."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Time that encoding all passages takes, and the rate that it follows from."""

    seconds: float
    characters_per_second: float
    basis: str
    """Source of the rate: `last refresh`, `sample` (a few passages were encoded), or `nothing to encode`."""


def estimate(root: Path, encoder: TextEncoder, passages: Sequence[str]) -> Estimate:
    """How long it will take to encode these passages."""
    if not passages:
        return Estimate(0.0, 0.0, "nothing to encode")
    rate, basis = _rates(root).get(encoder.fingerprint), "last refresh"
    if rate is None:
        rate, basis = _measured(encoder, passages), "sample"
    return Estimate(round(sum(map(len, passages)) / rate, 3), round(rate, 1), basis)


def remember_rate(root: Path, encoder: TextEncoder, passages: Sequence[str], seconds: float) -> None:
    """Keep the rate of a refresh for later estimates.

    It must not stop a refresh: nothing is forced to disk, and a full disk is no error.
    """
    if seconds < TELLING_SECONDS:
        return
    rates = {**_rates(root), encoder.fingerprint: sum(map(len, passages)) / seconds}
    try:
        (root / RATES).write_text(json.dumps(rates, indent=1))
    except OSError:
        return


def _rates(root: Path) -> dict[str, float]:
    """The known rates by fingerprint; anything but a number above zero is ignored."""
    try:
        found = json.loads((root / RATES).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: float(rate) for key, rate in found.items() if isinstance(rate, int | float) and rate > 0}


def _measured(encoder: TextEncoder, passages: Sequence[str]) -> float:
    """Characters per second, measured on passages spread over all of them; the vectors are thrown away."""
    step = max(1, len(passages) // SAMPLE)
    some = list(passages[::step][:SAMPLE])
    encoder.encode_passages(some[:1])  # warms up
    begin = time.perf_counter()
    encoder.encode_passages(some)
    return sum(map(len, some)) / max(time.perf_counter() - begin, 1e-6)
