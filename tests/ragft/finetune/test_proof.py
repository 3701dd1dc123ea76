"""The proof: three models answer the same prompts, the answers are kept, and each figure has its limit."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ragft.artifacts import Artifact, hash_model
from ragft.config import AnswerSection, MergeSection
from ragft.engine.base import ChatRequest, Completion
from ragft.errors import RagftError
from ragft.finetune import proof as proof_module
from ragft.finetune.lineage import LiveModel
from ragft.finetune.merge import merge
from ragft.finetune.proof import Proof, ProvenPrompt, check_proof, prove
from ragft.prompts import Message
from ragft.templates import Template

MEASURES = {"divergence": 0.001, "divergence_max": 0.01, "reference_divergence": 0.002, "top1_agreement": 0.99}
RULES = AnswerSection(format=r"\d+ \[1\]")
LIMITS = MergeSection()
GOOD = {
    **MEASURES, "prompts": 50, "same_prompt_ids": 50, "format_valid_live": 1.0, "format_valid_merged": 1.0,
    "format_valid_served": 1.0, "same_answers_served": 40,
}  # fmt: skip
TEMPLATE = (
    "{% for message in messages %}{{ message.role }} {{ message.content }} <|end|> {% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}"
)
QUESTIONS = ("w10 w11 w12", "w20", "w30 w31")
CONVERSATIONS: list[list[Message]] = [[{"role": "user", "content": question}] for question in QUESTIONS]

# --- the limits


def test_a_good_proof_is_accepted() -> None:
    check_proof(GOOD, LIMITS)


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ({"divergence": 0.03}, r"diverges .* by 0\.0300 nats .*merge\.max_divergence = 0\.02; merge onto"),
        ({"divergence": float("nan")}, r"diverges .* by nan nats"),
        ({"divergence": float("inf")}, r"diverges .* by inf nats"),
        ({"reference_divergence": 0.03}, r"than in PEFT, by 0\.0300 nats .*merge\.max_divergence = 0\.02"),
        ({"reference_divergence": float("nan")}, r"than in PEFT, by nan nats"),
        ({"same_prompt_ids": 48}, "vLLM renders 2 of 50 prompts to other token ids"),
        ({"format_valid_merged": 0.9}, r"The merged model answers 90% .* 100%.*merge\.max_format_loss = 0\.02"),
        ({"format_valid_served": 0.9}, r"The served model answers 90% .* 100%"),
        ({"format_valid_served": float("nan")}, "The served model answers nan%"),
    ],
    ids=[
        "divergence",
        "divergence NaN",
        "divergence infinite",
        "PEFT",
        "PEFT NaN",
        "prompt ids",
        "merged",
        "served",
        "served NaN",
    ],
)
def test_each_figure_beyond_its_limit_is_refused(figures: dict[str, float], message: str) -> None:
    with pytest.raises(RagftError, match=message):
        check_proof({**GOOD, **figures}, LIMITS)


def test_figures_without_a_limit_refuse_nothing() -> None:
    check_proof({**GOOD, "divergence_max": 9.0, "top1_agreement": 0.1, "same_answers_served": 0}, LIMITS)


def test_without_a_declared_format_form_is_not_judged() -> None:
    unscored = {f"format_valid_{model}": None for model in ("live", "merged", "served")}
    check_proof({**GOOD, **unscored}, LIMITS)


def test_a_model_in_better_form_than_the_live_one_is_accepted() -> None:
    check_proof({**GOOD, "format_valid_live": 0.2, "format_valid_merged": 0.9}, LIMITS)


@given(divergence=st.floats(0, 1), limit=st.floats(1e-6, 1))
def test_a_divergence_is_accepted_up_to_its_limit(divergence: float, limit: float) -> None:
    figures, limits = (
        {**GOOD, "divergence": divergence, "reference_divergence": 0.0},
        MergeSection(max_divergence=limit),
    )
    if divergence <= limit:
        check_proof(figures, limits)
    else:
        with pytest.raises(RagftError, match="diverges"):
            check_proof(figures, limits)


# --- what is kept


def published(proof: Proof, folder: Path) -> Artifact:
    """A model with its proof, as the stage publishes both."""
    proof.write(folder)
    return Artifact(folder, {"figures": {**proof.figures(RULES), "version": proof.model_version}})


PROMPTS = (
    ProvenPrompt(live="12 [1]", merged="12 [1]", served="12 [1]\n", same_prompt_ids=True),
    ProvenPrompt(live="12 [1]", merged="12", served="I do not know.", same_prompt_ids=False),
)


def test_figures_count_what_the_models_answered() -> None:
    assert Proof("version1", MEASURES, PROMPTS).figures(RULES) == {
        **MEASURES, "prompts": 2, "same_prompt_ids": 1, "format_valid_live": 1.0, "format_valid_merged": 0.5,
        "format_valid_served": 1.0, "same_answers_served": 1,
    }  # fmt: skip


def test_other_rules_give_other_form_figures_without_asking_again(tmp_path: Path) -> None:
    kept = Proof.read(published(Proof("version1", MEASURES, PROMPTS), tmp_path))
    strict, unscored = kept.figures(AnswerSection(format=r"\d+")), kept.figures(AnswerSection())
    form = [f"format_valid_{model}" for model in ("live", "merged", "served")]
    assert [strict[name] for name in form] == [0.0, 0.5, 0.5]
    assert [unscored[name] for name in form] == [None, None, None]
    others = kept.figures(RULES).keys() - set(form)
    assert all(strict[name] == unscored[name] == kept.figures(RULES)[name] for name in others)


TEXT = st.text() | st.sampled_from(["a\u2028b", "a\r\nb", "12 [1]", "\x85"])


@pytest.mark.medium
@given(
    measures=st.fixed_dictionaries({name: st.floats(0, 10) for name in MEASURES}),
    prompts=st.lists(st.builds(ProvenPrompt, TEXT, TEXT, TEXT, st.booleans()), min_size=1, max_size=5),
)
def test_a_proof_that_was_read_again_gives_the_same_figures(
    tmp_path_factory: pytest.TempPathFactory, measures: dict[str, float], prompts: list[ProvenPrompt]
) -> None:
    proof = Proof("version1", measures, tuple(prompts))
    again = Proof.read(published(proof, tmp_path_factory.mktemp("model")))
    assert again == proof
    assert again.figures(RULES) == proof.figures(RULES)


@pytest.mark.parametrize("content", [None, b"half a li", b'{"live": "a"}\n', b"[]\n"])
def test_a_proof_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    model = published(Proof("version1", MEASURES, PROMPTS), tmp_path)
    kept = tmp_path / "proof.jsonl"
    kept.unlink() if content is None else kept.write_bytes(content)
    with pytest.raises(RagftError, match=rf"{re.escape(str(tmp_path))} cannot be read .*delete that folder"):
        Proof.read(model)


# --- the asking


@dataclass
class DictEngine:
    """Answers from a dictionary, by the last turn; notes what is done to it."""

    answers: Mapping[str, str]
    tokenizer: Any
    prompt_ids: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    error: Exception | None = None
    version: str = "engine1"
    calls: list[str] = field(default_factory=list)
    requests: list[ChatRequest] = field(default_factory=list)

    def preload(self) -> None:
        self.calls.append("preload")

    async def start(self) -> None:
        self.calls.append("start")

    async def close(self) -> None:
        self.calls.append("close")

    async def chat(self, request: ChatRequest) -> Completion:
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.requests.append(request)
        question = request.messages[-1]["content"]
        ids = self.prompt_ids.get(question, tuple(Template(self.tokenizer).prompt(request.messages)))
        return Completion({}, self.answers[question], (), ids, "stop", 1.0, 1.0)


@dataclass(frozen=True)
class Merged:
    """An adapter, the model that it was merged into, and its tokenizer."""

    live: LiveModel
    folder: Path
    tokenizer: Any

    def engine(self, **options: Any) -> DictEngine:
        return DictEngine({question: f"served {question}" for question in QUESTIONS}, self.tokenizer, **options)

    def prove(self, engine: DictEngine, said: list[str] | None = None) -> Proof:
        say = [].append if said is None else said.append
        return prove(self.live, self.folder, CONVERSATIONS, engine, max_tokens=6, say=say)


@pytest.fixture
def merged(llama_folder: Path, make_live: Callable[[Path], LiveModel], tmp_path: Path) -> Merged:
    base = tmp_path / "base"
    shutil.copytree(llama_folder, base)
    words = ["<unk>", "<s>", "<|end|>", "user", "assistant", *(f"w{number}" for number in range(5, 256))]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", unk_token="<unk>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(base)
    live = make_live(base)
    merge(live, tmp_path / "merged")
    return Merged(live, tmp_path / "merged", fast)


def test_all_three_models_are_asked_and_the_engine_is_closed(merged: Merged) -> None:
    engine, said = merged.engine(), list[str]()
    proof = merged.prove(engine, said)
    assert proof.model_version == hash_model(merged.folder)
    assert proof.measures.keys() == MEASURES.keys()
    assert 0 <= proof.measures["divergence"] < 0.02
    assert [prompt.served for prompt in proof.prompts] == [f"served {question}" for question in QUESTIONS]
    assert all(prompt.same_prompt_ids and prompt.live and "<|end|>" not in prompt.live for prompt in proof.prompts)
    assert engine.calls == ["preload", "start", "close"]
    assert [request.options for request in engine.requests] == [{"temperature": 0, "max_tokens": 6}] * 3
    assert said == [
        "Comparing the live and the merged model on 3 held-out prompts",
        "Comparing the merged model with vLLM",
    ]


@pytest.mark.medium
def test_an_engine_that_serves_the_merged_model_passes_the_proof(merged: Merged) -> None:
    answers = {q: prompt.merged for q, prompt in zip(QUESTIONS, merged.prove(merged.engine()).prompts, strict=True)}
    proof = merged.prove(replace(merged.engine(), answers=answers))
    figures = proof.figures(AnswerSection(format=r"w.*"))
    assert figures["same_answers_served"] == figures["same_prompt_ids"] == 3
    assert figures["format_valid_served"] == figures["format_valid_merged"]
    check_proof(figures, MergeSection(max_format_loss=1.0))


def test_a_prompt_that_is_served_with_other_token_ids_is_found(merged: Merged) -> None:
    ids = tuple(Template(merged.tokenizer).prompt(CONVERSATIONS[1]))
    figures = merged.prove(merged.engine(prompt_ids={QUESTIONS[1]: (1, *ids)})).figures(AnswerSection())
    assert (figures["same_prompt_ids"], figures["prompts"]) == (2, 3)
    with pytest.raises(RagftError, match="vLLM renders 1 of 3 prompts"):
        check_proof(figures, LIMITS)


def test_a_limit_tells_the_merged_model_from_another_one(merged: Merged) -> None:
    limits = MergeSection(max_divergence=0.005)  # a random model has little to say, so that all are close
    check_proof(merged.prove(merged.engine()).figures(AnswerSection()), limits)
    figures = replace(merged, folder=merged.live.base).prove(merged.engine()).figures(AnswerSection())
    with pytest.raises(RagftError, match="diverges from the live one"):
        check_proof(figures, limits)


def test_a_large_model_is_not_loaded_beside_the_others(merged: Merged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof_module, "LOADED_BESIDE_BYTES", 1000)
    engine = merged.engine()
    merged.prove(engine)
    assert engine.calls == ["start", "close"]


def test_an_engine_that_was_preloaded_is_closed_where_the_comparison_fails(merged: Merged) -> None:
    engine = merged.engine()
    (merged.live.adapter / "adapter_config.json").unlink()
    with pytest.raises(RagftError, match="holds no adapter"):
        merged.prove(engine)
    assert engine.calls == ["preload", "close"]


def test_an_engine_that_fails_is_closed(merged: Merged) -> None:
    engine = merged.engine(error=RagftError("The engine died."))
    with pytest.raises(RagftError, match="died"):
        merged.prove(engine)
    assert engine.calls == ["preload", "start", "close"]
