"""Training the encoder: it improves a small random encoder, and the same seed gives the same one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.indexes import Write
from support.tiny_encoder import KINDS, make_encoder, page

from index.encoders.encoder import Encoder
from index.encoders.training import Recipe, TrainingRow, train
from index.refresh.refresh import refresh
from index.search.hard_negatives import Pair, mine
from index.search.search import search
from index.search.settings import SearchSettings
from index.store.snapshot import Snapshot
from ragft.evaluate.ranking import ndcg


@pytest.fixture(scope="module")
def random_encoder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    return make_encoder(tmp_path_factory.mktemp("random-encoder"), tokenizer)


def quality(encoder: Encoder, folder: Path, root: Path, pairs: list[Pair]) -> float:
    refresh(root, folder, encoder)
    found = search(Snapshot.open(root), encoder, [pair.question for pair in pairs], SearchSettings(k=10, mode="dense"))
    return float(
        np.mean([ndcg([hit.chunk_id for hit in hits], p.gold, 10) for hits, p in zip(found, pairs, strict=True)])
    )


@pytest.mark.medium
def test_training_improves_a_random_encoder_on_unseen_questions(
    random_encoder: Path, tmp_path: Path, write: Write
) -> None:
    folder = write({f"{kind}.md": page(kind) for kind in KINDS})
    encoder = Encoder(random_encoder, dtype="float32")
    refresh(tmp_path / "index", folder, encoder)
    snapshot = Snapshot.open(tmp_path / "index")
    chunks = {chunk.heading_path[-1]: chunk.id for chunk in snapshot.chunks()}

    def asked(words: str) -> list[Pair]:
        return [Pair(f"{words}{name}", f"{words} {name}", (frozenset({id_}),)) for name, id_ in sorted(chunks.items())]

    seen, unseen = asked("tell me about") + asked("what is"), asked("please say the")
    rows = mine(snapshot, encoder, seen, negatives=2, seed=0)
    steps: list[tuple[int, int, float]] = []
    recipe = Recipe(epochs=6, batch_size=16, learning_rate=3e-3, warmup_ratio=0.1, seed=0)
    trained = tmp_path / "trained"
    train(encoder, random_encoder, rows, trained, recipe, lambda *told: steps.append(told))
    new = Encoder(trained, dtype="float32")
    before = quality(encoder, folder, tmp_path / "index", unseen)
    after = quality(new, folder, tmp_path / "new", unseen)
    assert after > before + 0.2
    assert steps[-1][0] == steps[-1][1] == len(steps) and steps[-1][2] < steps[0][2]
    assert new.fingerprint != encoder.fingerprint and new.max_tokens == encoder.max_tokens == 64
    assert not list(tmp_path.glob("*.tmp")) and not list(trained.rglob("*.bin"))


@pytest.mark.medium
def test_the_same_seed_gives_the_same_encoder(random_encoder: Path, tmp_path: Path) -> None:
    encoder = Encoder(random_encoder, dtype="float32")
    rows = [
        TrainingRow(str(n), f"question {n}", "p", f"passage {n}", ("n", "m"), (f"other {n}", f"third {n}"))
        for n in range(8)
    ]
    recipe = Recipe(epochs=2, batch_size=4, learning_rate=1e-3, warmup_ratio=0.1, seed=3)
    for name in ("first", "second"):
        train(encoder, random_encoder, rows, tmp_path / name, recipe, lambda *told: None)
    assert Encoder(tmp_path / "first").fingerprint == Encoder(tmp_path / "second").fingerprint
