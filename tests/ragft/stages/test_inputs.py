"""What decides each stage: every key of the configuration is changed, and the artifacts tell what became stale.

The stages are the real ones, over a small domain; only the work of each is left out, because its inputs alone name its
artifact.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from pydantic.fields import FieldInfo
from support.domains import application
from support.indexes import HashEncoder, WordTokenizer

from ragft import artifacts
from ragft.artifacts import hash_folder
from ragft.config import Config
from ragft.config.loading import leaves
from ragft.finetune import proof
from ragft.finetune.lineage import ADAPTER_FILES
from ragft.stages import application as module
from ragft.stages import live, prompt_choice, tracking
from ragft.stages.application import Application
from ragft.stages.encoder import train_encoder
from ragft.stages.evaluation import evaluate
from ragft.stages.index import live_snapshot
from ragft.stages.inputs import (
    ABSTENTION,
    BIAS,
    CONVERSATION,
    COUNTERFACTUAL,
    FRESHNESS,
    INDEX,
    RECORDS,
    RETRIEVAL,
    ROBUSTNESS,
    SEEDS,
    SPLIT,
    STAGES,
    Stage,
    stale,
)
from ragft.stages.model import merge

KEYS = {".".join(keys): info for keys, info in leaves()}
NOT_SHOWN = {
    # They concern formats that are slow to read, and belong to a section whose other keys are shown.
    *(key for key in KEYS if key.startswith("index.documents.limits.") and not key.endswith(".file_mb")),
    "index.documents.fields.id",
    # They concern scanned pages, of which there are none here.
    *(key for key in KEYS if key.startswith("index.documents.ocr.")),
    "recipe",  # its values are under their own keys
    "recipes",
}


OWN_METRIC = """
from ragft.evaluate.metrics import Score, metric

@metric("{name}", axis="form")
def own(question, record, rules):
    return Score(1.0)
"""


TURNS = [{"role": "user", "content": "Before?"}, {"role": "assistant", "content": "Before."}]


class ChatWords(WordTokenizer):
    """A tokenizer with a chat template."""

    chat_template = "template {{ strftime_now() }}"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A domain whose configuration names every file that it can name, each beside another one to name instead."""
    folder = tmp_path_factory.mktemp("desk")
    for name in ("documents", "other-documents", "old", "other-old"):
        documents = folder / name
        documents.mkdir()
        for page in range(12):
            (documents / f"page-{page}.md").write_text(
                f"---\nlabels: [a]\n---\n# Page {page}\n\n## Two\n\nFact {page} of {name}.\n"
            )
        (documents / "long.txt").write_text("word " * 3_000)
        row = {"text": "One.", "body": "Two.", "title": "T", "name": "N", "labels": ["a"], "groups": ["b"], "year": 1}
        (documents / "table.jsonl").write_text(json.dumps(row) + "\n")
    for name in ("base", "other-base", "encoder", "other-encoder", "judge", "other-judge"):
        (folder / name).mkdir()
        for file in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
            (folder / name / file).write_text(json.dumps({"model_type": name}))
    for name in ("adapter", "other-adapter"):
        (folder / name).mkdir()
        for file in ADAPTER_FILES:
            (folder / name / file).write_text(name)
    for number, name in enumerate(("", "other-")):
        rows = [
            {
                "question": f"Fact {n}{name}?",
                "answer": f"It is {n} [1]",
                "sources": [f"page-{n % 12}.md"],
                "group": f"{n}",
                "history": [["What does page 1 tell?", "Fact 1"]] if n == 3 else [],
            }
            for n in range(30)
        ]
        write(folder / f"{name}examples.jsonl", rows)
        asked = [
            {"id": f"q{n}", "question": f"Asked {n}{name}?", "answers": ["x"], "history": TURNS if n == 0 else []}
            for n in range(3 + number)
        ]
        write(folder / f"{name}questions.jsonl", asked)
        held_out = [{"question": f"Held out {n}{name}?", "answer": f"{n}"} for n in range(4)]
        write(folder / f"{name}validation.jsonl", held_out)
        write(folder / f"{name}general.jsonl", [{"instruction": f"Say {n}{name}", "output": f"{n}"} for n in range(8)])
        golden = {"question": "Page 1 Two Fact 1 of documents.", "sources": ["page-1.md"]}
        write(folder / f"{name}golden.jsonl", [golden])
        (folder / f"{name}keys").write_text("")
        (folder / f"{name}metrics.py").write_text(OWN_METRIC.format(name="own" if name else "other"))
    return folder


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def configuration(folder: Path) -> dict[str, Any]:
    return {
        "name": "desk",
        "model": {"base": str(folder / "base")},
        "index": {
            "documents": {"folder": folder / "documents"},
            "encoder": {"model": str(folder / "encoder")},
            "search": {"reranker": str(folder / "judge"), "mode": "dense"},
            "refresh": {"gate": {"questions": folder / "golden.jsonl"}},
        },
        "data": {
            "examples": folder / "examples.jsonl",
            "questions": folder / "questions.jsonl",
            "documents": folder / "old",
            "validation": folder / "validation.jsonl",
            "mix": {"general": folder / "general.jsonl", "general_share": 0.1},
        },
        "finetune": {"start_from": folder / "adapter"},
        "evaluate": {"metrics_file": folder / "metrics.py"},
        "serve": {
            "keys": folder / "keys",
            "jwt": {
                "issuer": "https://id.example.org",
                "audience": "ragft",
                "jwks": str(folder / "jwks.json"),
                "domains_claim": "groups",
            },
        },
    }


OTHER_VALUES: dict[str, Any] = {
    "data.mix.temperature": 2.0,
    "name": "another",
    "recipe": "short",
    "recipes": {"short": {"seed": 1}},
    "prompt.system": "Another style.",
    "prompt.template_arguments": {"template": True},
    "prompt.date": "2026-11-27",
    "prompt.untuned": {"prompt-only": {"prompt": "format-last"}, "rag-only": {"prompt": "format-last"}},
    "answer.format": ".*",
    "answer.value": "(.*)",
    "answer.refusal": "No.",
    "answer.refusals": ["Not here."],
    "answer.choices": ["yes", "no"],
    "data.generate.folder": "elsewhere",
    "data.generate.templates": "templates.yaml",
    "data.generate.avoid": ["questions.jsonl"],
    "data.generate.server": {"url": "http://127.0.0.1:1/v1"},
    "index.documents.include": ["page-*.md"],
    "index.documents.exclude": ["long.txt"],
    "index.documents.fields.text": "body",
    "index.documents.fields.title": "name",
    "index.documents.fields.labels": "groups",
    "index.documents.fields.metadata": ["year"],
    "index.documents.fields.by_file": [{"files": "table.*", "text": "body"}],
    "index.documents.default_labels": ["staff"],
    "index.documents.limits.file_mb": 0.01,
    "index.documents.ocr.languages": ["fra"],
    "index.chunking.max_tokens": 32,
    "index.chunking.overlap": 2,
    "index.chunking.max_characters": 100,
    "index.chunking.max_model_tokens": 70,
    "index.search.filter": {"year": {"exists": False}},
    "evaluate.setups": ["hybrid"],
    "evaluate.arms": {"closed": {"model": "base"}, "oracle": {"model": "tuned", "passages": "gold"}},
    "data.personal": ["email"],
    "data.audit.near_duplicates": 0.9,
    "data.audit.toxic_words": "words.txt",
    "data.clean.drop": ["schema"],
    "evaluate.labels": ["staff"],
    "evaluate.prompts": [{"prompt": "format-last"}, {"prompt": "question-first"}],
    "evaluate.choose_share": 0.5,
    "evaluate.metrics": ["chrf"],
    "evaluate.decides": "token_f1",
    "evaluate.tracker": "tensorboard",
    "evaluate.limit": 2,
    "evaluate.seeds": [1, 2],
    "evaluate.conversations": "conversations.jsonl",
    "evaluate.general.files": ["general.jsonl"],
    "evaluate.bias.groups": {"age": {"young": ["student"], "old": ["pensioner"]}},
    "evaluate.bias.questions": "people.jsonl",
    "evaluate.judge.model": "judge",
    "evaluate.judge.base_url": "http://127.0.0.1:1/v1",
    "evaluate.judge.criteria": [{"name": "tone", "question": "Is it kind?"}],
    "evaluate.judge.pairs": [["hybrid", "rag-only"]],
    "evaluate.judge.labels": "labels.csv",
    "engine.backend": "remote",
    "engine.servers": {"tuned": [{"url": "http://127.0.0.1:1/v1"}]},
    "finetune.method": "lora",
    "finetune.select": "exact_match",
    "finetune.tracker": "tensorboard",
    "data.augment.pivots": ["Dutch"],
    "finetune.device": "cpu",
    "finetune.dropout": 0.1,
    "finetune.target_modules": ["q_proj"],
    "finetune.layers": [0],
    "tune.space": {"rank": [8, 16]},
    "tune.search.top_k": [3],
    "tune.search.modes": ["dense"],
    "tune.search.dense_weights": [3.0],
    "tune.search.chunk_tokens": [64],
    "serve.setups": ["rag-only"],
    "serve.split.arms": {
        "now": {"setup": "hybrid", "share": 0.5}, "again": {"setup": "hybrid", "share": 0.5},
    },
    "serve.split.sticky": ["user"],
    "serve.otlp_endpoint": "http://127.0.0.1:4318/v1/traces",
    "serve.cors": ["https://app.example.org"],
    "serve.audit_log": "audit.jsonl",
    "serve.jwt.algorithms": ["RS256"],
    "serve.jwt.scopes": {"chat": ["chat"]},
    "serve.jwt.labels_claim": "groups",
    "serve.jwt.domains_claim": "desks",
    "serve.jwt.domains": {"team": ["travel"]},
    "serve.jwt.labels": {"team": ["staff"]},
}  # fmt: skip


def other_value(key: str, info: FieldInfo, folder: Path, now: Any) -> Any:
    """A value that the key may have, and has not."""
    if key in OTHER_VALUES:
        return OTHER_VALUES[key]
    if isinstance(now, str | Path) and str(now).startswith(str(folder)):
        return str(Path(now).with_name(f"other-{Path(now).name}"))
    choices = [choice for part in (info.annotation, *get_args(info.annotation)) for choice in get_args(part)]
    if isinstance(now, str) and (named := [c for c in choices if isinstance(c, str) and c not in (now, "lexical")]):
        return named[0]
    if isinstance(now, bool):
        return not now
    if isinstance(now, str):
        return f"{now}x"
    if now is None:
        return 40
    return now / 2 if isinstance(now, float) and now else now + 1


@pytest.fixture(scope="module")
def fingerprints(desk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., dict[str, Any]]]:
    """The fingerprint of every stage's output, for a configuration with some keys changed."""
    build, workspaces = artifacts.build, count()

    def without_work(root: Path, kind: str, inputs: Mapping[str, Any], work: object, **more: Any) -> Any:
        def stub(folder: Path) -> dict[str, Any]:
            (folder / "adapter").mkdir()
            for name in ("adapter/adapter_config.json", "adapter/adapter_model.safetensors", "records.jsonl"):
                (folder / name).write_text(folder.name if name != "records.jsonl" else "")
            return {"version": folder.name}

        return build(root, kind, inputs, stub, **more)

    def encoder(app: Application) -> HashEncoder:
        settings = app.config.index.encoder.model_dump(exclude={"device", "training", "model"})
        return HashEncoder(WordTokenizer(), f"{settings} {hash_folder(app.encoder_folder)}")

    def made(changes: Mapping[str, Any]) -> dict[str, Any]:
        values = {**configuration(desk), "workspace": tmp_path_factory.getbasetemp() / f"workspace-{next(workspaces)}"}
        for key, value in changes.items():
            section = values
            *path, last = key.split(".")
            for part in path:
                section = section.setdefault(part, {})
            section[last] = value
        app = application(Config.model_validate(values))
        index = live_snapshot(app).id
        merge(app)
        evaluation, trained = evaluate(app), train_encoder(app)
        folders = {path.parent.name: path.parent for path in app.workspace.glob("*/*/manifest.json")}
        kinds: dict[str, set[str]] = {}
        for name, folder in folders.items():
            manifest = json.loads((folder / "manifest.json").read_text())
            kind = manifest["kind"]
            if kind == RECORDS.name and "index" in manifest["inputs"]:
                kind = RETRIEVAL.name
            kinds.setdefault(kind, set()).add(name)
        assert kinds["evaluation"] == {evaluation.fingerprint} and kinds["encoder"] == {trained.fingerprint}
        return {INDEX.name: {index}, **kinds}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "build", without_work)
        for name in ("folder", "scans"):  # tesseract need not be installed
            patch.setattr(f"index.documents.{name}.refuse_missing_recognition", lambda settings: None)
        patch.setattr(Application, "encoder", property(encoder))
        patch.setattr(Application, "encoder_folder", property(lambda app: Path(app.config.index.encoder.model)))
        patch.setattr(Application, "reranker_folder", property(lambda app: Path(app.config.index.search.reranker)))
        patch.setattr(Application, "reranker", None)
        patch.setattr(tracking, "track", lambda *_: None)  # there are no figures to tell
        patch.setattr(Application, "tokenizer", ChatWords())
        patch.setattr(proof.Proof, "read", lambda model: SimpleNamespace(figures=lambda rules: {}))
        # Without work there are no answers to choose by.
        patch.setattr(prompt_choice, "measured", lambda questions, answers, rules, **_: (next(iter(answers)), 2, {}))
        patch.setattr(proof, "check_proof", lambda figures, limits: None)
        patch.setattr(live, "read_plain_lora", lambda folder: SimpleNamespace(rank=8, ranks={}))
        yield made


@pytest.fixture(scope="module")
def before(fingerprints: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return fingerprints({})


@pytest.mark.medium
def test_every_stage_has_an_output(before: dict[str, Any]) -> None:
    assert set(before) == {stage.name for stage in STAGES}


@pytest.mark.medium
@pytest.mark.parametrize("key", [key for key in KEYS if key != "workspace"])  # each test has a workspace of its own
def test_a_key_makes_exactly_the_stages_stale_that_the_table_names(
    desk: Path, before: dict[str, Any], fingerprints: Callable[..., dict[str, Any]], key: str
) -> None:
    now: Any = Config.model_validate(configuration(desk))
    for part in key.split("."):
        now = getattr(now, part)
    change = {key: other_value(key, KEYS[key], desk, now)}
    if key == "evaluate.choose_share":  # where there is something to choose
        choosing = {"evaluate.prompts": OTHER_VALUES["evaluate.prompts"]}
        before, change = fingerprints(choosing), {**choosing, **change}
    found = changed(before, fingerprints(change))
    if key == "index.documents.folder":
        # Where the examples were written from the live documents, the encoder is trained on those.
        live = {"data.documents": None}
        found |= changed(fingerprints(live), fingerprints({**live, **change}))
    assert found == (set() if key in NOT_SHOWN else set(stale(key)))


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """The stages with an output that there was not before."""
    return {name for name, made in after.items() if not made <= before[name]}


def test_stages_come_after_those_that_they_need() -> None:
    names = [stage.name for stage in STAGES]
    assert all(names.index(needed) < names.index(stage.name) for stage in STAGES for needed in stage.after)


def test_a_stage_names_keys_that_exist() -> None:
    sections = {key[:end] for key in KEYS for end in range(len(key) + 1) if end == len(key) or key[end] == "."}
    for stage in (*STAGES, ABSTENTION, BIAS, CONVERSATION, COUNTERFACTUAL, FRESHNESS, ROBUSTNESS, SEEDS):
        assert {*stage.keys, *stage.without, *stage.content} <= sections, stage.name


def test_values_of_a_stage_hold_its_keys_and_no_paths() -> None:
    config = Config(name="desk")
    assert SPLIT.values(config) == {
        "data.split.validation_share": 0.1,
        "data.split.by": "group",
        "data.split.stratify": False,
        "seed": 0,
    }
    stage = Stage("s", "s", keys=("index.search", "index.encoder.model"), without=("index.search.top_k",))
    assert set(stage.values(config)) == {
        key for key in KEYS if key.startswith("index.search.") and key != "index.search.top_k"
    } | {"index.encoder.model"}
    assert "index.encoder.model" not in Stage(
        "s", "s", keys=("index.encoder",), content=("index.encoder.model",)
    ).values(config)
