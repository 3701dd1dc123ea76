"""Trains the encoder to bring a domain's questions near the passages that answer them.

Contrastive fine-tuning through the trainer of sentence-transformers: a question is drawn to its passage, and pushed
from passages that the present index takes for it wrongly (hard negatives) and from all passages of the other questions
in the batch. Knows an index, an encoder and pairs; what the result is worth is measured elsewhere.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from index.encoders.encoder import Encoder, TextEncoder, Vectors
from index.encoders.loading import load
from index.errors import IndexFault
from index.search.search import Hit, search
from index.store.snapshot import Snapshot

MINING_DEPTH = 100
"""How far down the ranking hard negatives are looked for."""

MARGIN = 0.95
"""A passage that scores more than this share of the gold one's cosine may well be an unmarked answer: it is no
negative (NV-Retriever, arXiv 2407.15831, which found this rule the best of several)."""

NEAR_DUPLICATE = 0.95
"""Cosine from which on a passage says the same as the gold one."""

SCALE = 20.0
"""Inverse temperature of the softmax over cosines, the default of sentence-transformers."""

_ROWS_AT_ONCE = 8
"""Texts whose activations are held together: gradients are cached (arXiv 2101.06983), so that the batch does not
decide how much memory training takes."""

StepProgress = Callable[[int, int, float], None]
"""Called with the steps done, the steps in all, and the latest loss."""


@dataclass(frozen=True)
class Pair:
    """A question and the chunks that answer it.

    Attributes:
        gold: For each source of the answer the ids of the chunks that it consists of; none is empty.
    """

    id: str
    question: str
    gold: tuple[frozenset[str], ...]


@dataclass(frozen=True)
class TrainingRow:
    """A question, a chunk that answers it, and chunks that do not; all rows have equally many of these."""

    pair: str
    question: str
    positive_id: str
    positive: str
    negative_ids: tuple[str, ...]
    negatives: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """How the encoder is trained.

    Attributes:
        epochs: Passes over the rows.
        batch_size: Rows per step; the passages of the others in the batch are negatives too.
        learning_rate: Peak of AdamW's rate, which then falls linearly.
        warmup: Share of the steps over which the rate rises.
        seed: Of the order and of dropout.
    """

    epochs: float
    batch_size: int
    learning_rate: float
    warmup: float
    seed: int


def mine(
    snapshot: Snapshot, encoder: TextEncoder, pairs: Sequence[Pair], negatives: int, seed: int
) -> list[TrainingRow]:
    """Training rows: each source of each pair with its hardest negatives.

    Of a source's chunks the one that the encoder finds nearest to the question is the positive. Negatives are the best
    hits of a hybrid search that are no gold chunk of the question, do not say the same as the positive, and score
    clearly less. Where there are too few such hits, passages at random take their places.

    Args:
        snapshot: The index to mine from.
        encoder: The one that built it.
        pairs: What to train on; every gold id is in the snapshot.
        negatives: Of each row.
        seed: Of the random passages.

    Raises:
        IndexFault: a pair names a chunk that the index does not hold, or the index holds nothing but its gold chunks.
    """
    corpus = _Corpus(snapshot)
    questions = [pair.question for pair in pairs]
    asked = encoder.encode_queries(questions)
    found = search(snapshot, encoder, questions, k=MINING_DEPTH)
    draw = random.Random(seed)
    rows = []
    for pair, vector, hits in zip(pairs, asked, found, strict=True):
        gold = frozenset().union(*pair.gold)
        others = [hit for hit in hits if hit.chunk_id not in gold]
        for source in pair.gold:
            options = sorted(source)
            vectors = corpus.vectors(options)
            best = int(np.argmax(vectors @ vector))
            hard = _hard(corpus, others, vectors[best], float(vectors[best] @ vector))[:negatives]
            wrong = [(hit.chunk_id, hit.passage) for hit in hard]
            wrong += [corpus.any_but(gold, draw) for _ in range(negatives - len(hard))]
            ids, passages = zip(*wrong, strict=True)
            rows.append(
                TrainingRow(pair.id, pair.question, options[best], corpus.passage(options[best]), ids, passages)
            )
    return rows


def _hard(corpus: _Corpus, hits: Sequence[Hit], positive: Vectors, score: float) -> list[Hit]:
    """The hits that are safe to call wrong, best first."""
    if not hits:
        return []
    alike = corpus.vectors([hit.chunk_id for hit in hits]) @ positive
    return [
        hit
        for hit, likeness in zip(hits, alike.tolist(), strict=True)
        if likeness < NEAR_DUPLICATE and hit.dense_score is not None and hit.dense_score <= MARGIN * score
    ]


class _Corpus:
    """The chunks of a snapshot by id."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._rows = snapshot.order
        self._ids = [chunk.id for chunk in snapshot.chunks()]
        self._places = {id_: place for place, id_ in enumerate(self._ids)}

    def passage(self, id_: str) -> str:
        return self._snapshot.chunk(self._place(id_)).passage

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Vectors of some chunks: (len(ids), dimension) float32."""
        parts = []
        for id_ in ids:
            segment, local = self._snapshot.locate(int(self._rows[self._place(id_)]))
            parts.append(self._snapshot.segments[segment].vectors.read(np.array([local])))
        return np.concatenate(parts)

    def any_but(self, gold: frozenset[str], draw: random.Random) -> tuple[str, str]:
        """A random chunk that is not gold: its id and passage."""
        if all(id_ in gold for id_ in self._ids):
            raise IndexFault(
                f"The index holds {len(self._ids)} passages and every one of them answers the same question: there "
                "is nothing to tell apart, so index more documents."
            )
        while (id_ := draw.choice(self._ids)) in gold:
            pass
        return id_, self.passage(id_)

    def _place(self, id_: str) -> int:
        place = self._places.get(id_)
        if place is None:
            raise IndexFault(f"The pairs name the chunk {id_}, which the index does not hold; read the pairs again.")
        return place


def train(
    encoder: Encoder, source: Path, rows: Sequence[TrainingRow], folder: Path, recipe: Recipe, progress: StepProgress
) -> None:
    """Fine-tune a copy of the encoder and write it, in the format of sentence-transformers.

    Weights are trained in float32; products are in bfloat16 where the encoder's are.

    Args:
        encoder: Whose prefixes and number format count.
        source: Folder of its weights.
        rows: What `mine` gave; at least one.
        folder: Where the trained encoder goes; only whole ones come to lie there.
        recipe: How.
        progress: Called after every step.
    """
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
    from transformers import set_seed

    set_seed(recipe.seed)
    model = load("SentenceTransformer", source, encoder.device, "float32")
    columns = {
        "anchor": [encoder.query_prefix + row.question for row in rows],
        "positive": [encoder.passage_prefix + row.positive for row in rows],
    }
    for number in range(len(rows[0].negatives)):
        columns[f"negative_{number}"] = [encoder.passage_prefix + row.negatives[number] for row in rows]
    unfinished = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(unfinished),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup,  # below 1: a share of the steps
        batch_sampler="no_duplicates",  # another row's passage must not be this row's too
        bf16=encoder.dtype == "bfloat16",
        use_cpu=encoder.device == "cpu",
        seed=recipe.seed,
        save_strategy="no",
        logging_strategy="steps",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(columns),
        loss=CachedMultipleNegativesRankingLoss(
            model, scale=SCALE, similarity_fct=_cosines, mini_batch_size=_ROWS_AT_ONCE
        ),
        callbacks=[_told_to(progress)],
    )
    _silence(trainer)
    trainer.train()
    model.save(str(unfinished), create_model_card=False, safe_serialization=True)
    unfinished.rename(folder)


def _cosines(a: Any, b: Any) -> Any:
    """Cosines in float32: bfloat16 has too few digits for the softmax over them."""
    import torch
    from sentence_transformers.util import cos_sim

    with torch.autocast(a.device.type, enabled=False):
        return cos_sim(a.float(), b.float())


def _told_to(progress: StepProgress) -> Any:
    """A callback of the trainer that passes every step on."""
    from transformers import TrainerCallback

    class Telling(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
            if logs and "loss" in logs:
                progress(int(state.global_step), int(state.max_steps), float(logs["loss"]))

    return Telling()


def _silence(trainer: Any) -> None:
    """The trainer prints every log; ours are told by the callback."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
