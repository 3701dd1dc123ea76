"""Settings of short runs, a base whose merges are not rounded, and rows of preferences and rewards."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.training import END, save_llama, settings_maker

from ragft.config import FinetuneSection
from ragft.messages import Preferred, Rendered, Rewarded


@pytest.fixture(scope="session")
def make_settings() -> Callable[..., FinetuneSection]:
    return settings_maker(epochs=2, max_seq_length=48, eval_count=2, learning_rate=1e-2, generations=8)


@pytest.fixture(scope="session")
def float_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of few words as a float32 folder."""
    folder = tmp_path_factory.mktemp("llama-float32")
    # Of smaller initial weights, an output head could prefer no token by much.
    return save_llama(folder, vocab_size=64, num_hidden_layers=2, max_position_embeddings=256, initializer_range=0.1)


@pytest.fixture(scope="session")
def preferences() -> Callable[..., list[Preferred]]:
    """Better answers that begin with 10, worse ones that begin with 20, some rows without."""

    def make(count: int, *, seed: int = 0, unpaired: int = 0) -> list[Preferred]:
        draw, rows = random.Random(seed), []
        for number in range(count):
            prompt = [draw.randrange(30, 64) for _ in range(draw.randint(4, 16))]
            better = Rendered.answered(prompt, [10, 11, prompt[0], END])
            worse = None if number < unpaired else Rendered.answered(prompt, [20, 21, 22, prompt[1], END])
            rows.append(Preferred(better.ids, better.trained, worse))
        return rows

    return make


def earned(ids: Sequence[int]) -> float:
    """What an answer earns in these tests: the share of its tokens below 32."""
    return sum(token < 32 for token in ids) / len(ids)


@pytest.fixture(scope="session")
def rewarded(preferences: Callable[..., list[Preferred]]) -> Callable[..., list[Rewarded]]:
    def make(count: int, *, seed: int = 0) -> list[Rewarded]:
        return [Rewarded(row.ids, row.trained, earned) for row in preferences(count, seed=seed)]

    return make
