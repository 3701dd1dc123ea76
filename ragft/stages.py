"""The stages of one application, each from fingerprinted inputs to a published folder.

    documents -> index        examples -> split -> mix -> adapter -> model

What the evaluation does with them is in `ragft.evaluate.run`. A stage calls the stages before it, so that asking for
a model makes whatever it is missing, and nothing that is up to date.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index.durable import write_file
from ragft.artifacts import Artifact, build, find, hash_file, hash_model, sweep
from ragft.config import Config, IndexSection, workspace_of
from ragft.console import Reporter
from ragft.data.examples import Example, read_examples
from ragft.data.split import split
from ragft.errors import RagftError, UsageError
from ragft.jsonl import read_objects, to_lines
from ragft.models import load_encoder, resolve_encoder, resolve_model, resolve_reranker
from ragft.prompts import Rendered, render_training, template_hash
from ragft.setups import SETUPS

if TYPE_CHECKING:
    from index.encoder import Encoder
    from index.refresh import RefreshReport
    from index.rerank import Reranker
    from index.snapshot import Snapshot
    from ragft.data.mix import Row
    from ragft.finetune.fast.trainer import TrainProgress
    from ragft.pipeline import Retriever

# Distractors are mined this many times deeper than a prompt is long, so that gold passages leave enough of them.
MINING_DEPTH = 4


class Stages:
    """The stages of one configuration."""

    def __init__(self, config: Config, reporter: Reporter) -> None:
        self.config = config
        self.reporter = reporter
        self.workspace = workspace_of(config)

    # --- models

    @cached_property
    def base(self) -> Path:
        """Folder of the base model."""
        return resolve_model(self.config.model.base, self.reporter.say)

    @cached_property
    def encoder(self) -> Encoder:
        """The index's encoder, loaded."""
        return self.load_encoder(self.encoder_folder)

    @cached_property
    def encoder_folder(self) -> Path:
        """Folder of the index's encoder."""
        return resolve_encoder(self.config.index.encoder, self.reporter.say)

    def load_encoder(self, folder: Path) -> Encoder:
        """Any encoder, as this configuration runs it."""
        encoder = load_encoder(self.config.index.model_copy(update={"encoder": str(folder)}), self.reporter.say)
        if encoder.note:
            self.reporter.say(encoder.note)
        return encoder

    @cached_property
    def reranker(self) -> Reranker | None:
        """The index's cross-encoder, loaded; None where the configuration names none."""
        name = self.config.index.rerank
        if name is None:
            return None
        from index.rerank import CrossEncoderReranker

        return CrossEncoderReranker(resolve_reranker(name, self.reporter.say), dtype=self.encoder.dtype)

    @cached_property
    def tokenizer(self) -> Any:
        """The base model's tokenizer."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.base, local_files_only=True)

    # --- index

    @property
    def index_root(self) -> Path:
        """Where the live index lives."""
        return self.workspace / "index"

    def refresh_index(
        self,
        *,
        dry_run: bool = False,
        rebuild: bool = False,
        root: Path | None = None,
        documents: Path | None = None,
        ask_gate: bool = True,
        allow_removal: bool = False,
        check_content: bool = False,
        wait: bool = False,
        encoder: Encoder | None = None,
    ) -> RefreshReport:
        """Brings an index up to date with its folder of documents, by default the live one; says what was skipped.

        Args:
            root: of another index than the live one: no gate is asked about it, and any document may vanish from it.
            ask_gate: whether the golden questions of the configuration may hold the snapshot back.
            allow_removal: lets any number of documents vanish, this once.

        Raises:
            UsageError: the golden questions cannot be read; nothing was done.
        """
        from index.refresh import refresh
        from ragft.gate import gate_of
        from ragft.indexing import refresh_settings
        from ragft.refresh_report import remarks_on

        settings = self.config.index
        gate = gate_of(self.config, self.encoder) if ask_gate and root is None and not dry_run else None
        with self.reporter.progress("Encoding passages") as advance:
            report = refresh(
                root or self.index_root,
                documents or settings.documents,
                encoder or self.encoder,
                dry_run=dry_run,
                rebuild=rebuild,
                check_content=check_content,
                wait=wait,
                progress=lambda done, total: advance(done, total, "passages"),
                allow_removal=1.0 if allow_removal or root is not None else settings.allow_removal,
                gate=gate,
                building=lambda done, total: advance(done, total, "vectors linked"),
                **refresh_settings(self.config),
            )
        for remark in remarks_on(report):
            self.reporter.say(remark)
        return report

    def live_snapshot(self) -> Snapshot:
        """The live index, built first where there is none."""
        from index.errors import NoSnapshot
        from index.snapshot import Snapshot

        try:
            return Snapshot.open(self.index_root, check=self.config.index.verify_on_open)
        except NoSnapshot:
            self.refresh_or_stop()
            return Snapshot.open(self.index_root)

    def refresh_or_stop(self) -> RefreshReport:
        """Brings the live index up to date for what comes after.

        Raises:
            RagftError: the gate held the new snapshot back.
        """
        from ragft.refresh_report import held_sentence

        report = self.refresh_index()
        if report.held:
            raise RagftError(held_sentence(report))
        return report

    @property
    def training_documents(self) -> Path:
        """The folder that the examples were written from."""
        return self.config.data.documents or self.config.index.documents

    def training_snapshot(self) -> Snapshot:
        """The passages that training rows are mixed with: of the documents that the examples were written from."""
        from index.snapshot import Snapshot

        documents = self.config.data.documents
        if documents is None:
            return self.live_snapshot()
        root = self.workspace / "data" / "index"
        self.refresh_index(root=root, documents=documents)
        return Snapshot.open(root)

    # --- data

    def split(self) -> Artifact:
        """Training and validation examples."""
        config = self.config
        inputs = {
            "examples": _hash_input(config.data.examples, "data.examples"),
            "validation_share": config.data.validation_share,
            "seed": config.seed,
        }

        def work(folder: Path) -> dict[str, Any]:
            examples = read_examples(config.data.examples)
            parts = split(examples, config.data.validation_share, config.seed)
            for name, part in zip(("train", "validation"), parts, strict=True):
                write_file(folder / f"{name}.jsonl", to_lines(example.to_json() for example in part))
            return {"train": len(parts[0]), "validation": len(parts[1])}

        return build(self.workspace / "data", "split", inputs, work)[0]

    def mix(self) -> Artifact:
        """Training and validation rows with passages.

        New documents alone make no new mix: the passages of a training row are a sample of what retrieval looks like,
        the facts are the index's business. That is what lets an index be refreshed without retraining.
        """
        config, parts = self.config, self.split()
        mixing = config.data.mix
        inputs = {
            "split": parts.fingerprint,
            "mix": mixing.model_dump(mode="json", exclude={"general"}),
            "general": _hash_input(mixing.general, "data.mix.general") if mixing.general else None,
            "documents": _hash_documents(config.data.documents, config.index) if config.data.documents else None,
            "search": config.index.model_dump(mode="json", exclude={"top_k", *IndexSection.UPKEEP}),
            "prompt": [config.prompt.system, config.prompt.refusal],
            "seed": config.seed,
        }

        def work(folder: Path) -> dict[str, Any]:
            from ragft.data.mix import mix
            from ragft.pipeline import Retriever

            snapshot = self.training_snapshot()
            retriever = Retriever(snapshot, self.encoder, config, self.reranker)

            def search(questions: Sequence[str]) -> list[Any]:
                return [found.hits for found in retriever.search(questions, MINING_DEPTH * mixing.passages)]

            figures: dict[str, Any] = {"snapshot": snapshot.id}
            general = self._general()
            for name in ("train", "validation"):
                examples = [Example.from_json(row) for _, row in read_objects(parts.folder / f"{name}.jsonl", name, "")]
                rows = mix(
                    examples, general[name], snapshot, search, mixing,
                    system=config.prompt.system, refusal=config.prompt.refusal, seed=config.seed,
                )  # fmt: skip
                write_file(folder / f"{name}.jsonl", to_lines(row.to_json() for row in rows))
                kinds = [row.kind for row in rows]
                figures[name] = {
                    "rows": len(rows),
                    **{kind: kinds.count(kind) for kind in sorted(set(kinds))},
                }
            return figures

        return build(self.workspace / "data", "mix", inputs, work, {"split": parts.fingerprint})[0]

    def _general(self) -> dict[str, tuple[Example, ...]]:
        """General instructions by part: parted as the examples are, so that none that validates is trained."""
        path, share = self.config.data.mix.general, self.config.data.mix.general_share
        if path is None or share == 0:
            return {"train": (), "validation": ()}
        general = read_examples(path, "data.mix.general")
        train, validation = split(general, self.config.data.validation_share, self.config.seed)
        return {"train": train, "validation": validation}

    def rows(self, part: str) -> list[Row]:
        """The mixed rows of a part: `train` or `validation`."""
        from ragft.data.mix import Row

        path = self.mix().folder / f"{part}.jsonl"
        return [Row.from_json(values) for _, values in read_objects(path, "rows", "")]

    def rendered(self, part: str) -> list[Rendered]:
        """The rows of a part as token ids."""
        return [render_training(self.tokenizer, row.messages) for row in self.rows(part)]

    # --- training

    def adapter_inputs(self) -> dict[str, Any]:
        """All that decides the adapter."""
        return {
            "mix": self.mix().fingerprint,
            "base": hash_model(self.base),
            "template": template_hash(self.tokenizer),
            "finetune": self.config.finetune.model_dump(mode="json", exclude={"threads"}),
            "seed": self.config.seed,
        }

    def finetune(self) -> Artifact:
        """The adapter, trained; resumes where an interrupted training left off."""

        def work(folder: Path) -> dict[str, Any]:
            from ragft.finetune.fast.parallel import return_free_memory
            from ragft.finetune.fast.trainer import train

            rows, validation = self.rendered("train"), self.rendered("validation")
            with self.reporter.progress("Training") as advance:
                report = train(
                    self.base, rows, validation, self.config.finetune, seed=self.config.seed, folder=folder,
                    progress=lambda state: advance(state.step, state.steps, _training_note(state)),
                )  # fmt: skip
            if report.rows_left_out:
                self.reporter.say(f"{report.rows_left_out} rows are longer than finetune.max_length and were left out.")
            (folder / "checkpoint.safetensors").unlink(missing_ok=True)
            # What comes next in this process is another model, in other processes.
            return_free_memory()
            return {key: value for key, value in asdict(report).items() if key != "adapter"}

        inputs = self.adapter_inputs()
        return build(self.workspace / "adapters", "adapter", inputs, work, {"mix": inputs["mix"]})[0]

    def merge(self, adapter: Path | None = None) -> Artifact:
        """The merged model with the proof that it answers like the live adapter; it becomes the deployed one.

        Args:
            adapter: folder of an adapter in PEFT's format that was trained elsewhere; None: the one of this
                configuration.

        Raises:
            RagftError: the proof failed; nothing is published.
        """
        from ragft.finetune.proof import merge_and_prove

        trained_here = adapter is None
        folder = self.finetune().folder / "adapter" if adapter is None else adapter
        config = self.config
        if not (folder / "adapter_config.json").is_file():
            raise UsageError(
                f"{folder} holds no adapter (adapter_config.json is missing): name a folder in PEFT's format."
            )
        if not (folder / "adapter_model.safetensors").is_file():
            raise UsageError(
                f"{folder} holds no adapter_model.safetensors; other formats can run code and are not loaded."
            )
        quantised = config.finetune.method == "qlora"
        inputs = {
            "adapter": [
                hash_file(folder / "adapter_model.safetensors"),
                hash_file(folder / "adapter_config.json"),
            ],
            "base": hash_model(self.base),
            "quantised": quantised,
            "merge": config.merge.model_dump(mode="json"),
            "prompt": config.prompt.model_dump(mode="json"),
            "engine": config.engine.model_dump(mode="json"),
            "mix": self.mix().fingerprint,
        }

        def work(growing: Path) -> dict[str, Any]:
            figures = merge_and_prove(config, self.base, folder, growing, self.rows("validation"), self.reporter)
            return {**figures, "base": config.model.base}

        parents = {"adapter": folder.parent.name} if trained_here else {}
        artifact, _ = build(self.workspace / "models", "model", inputs, work, parents)
        deploy(self.workspace, artifact)
        return artifact

    def sweep(self) -> list[Path]:
        """Deletes what killed runs left in the workspace and nothing goes on from; returns it."""
        roots = ("data", "adapters", "models", "evaluations")
        return [path for root in roots for path in sweep(self.workspace / root)]

    # --- use

    def retriever(self) -> Retriever:
        """Search over the live index, which is built first where there is none."""
        from index.refresh import check_encoder
        from ragft.pipeline import Retriever

        snapshot = self.live_snapshot()
        check_encoder(snapshot, self.encoder)
        return Retriever(snapshot, self.encoder, self.config, self.reranker)

    def model_folders(self, setups: Sequence[str]) -> dict[str, Path]:
        """Folder of each model that these setups need, by `Setup.model`.

        Raises:
            RagftError: a setup needs a tuned model, and none is deployed.
        """
        folders = {"base": lambda: self.base, "tuned": self._tuned_folder}
        return {model: folders[model]() for model in dict.fromkeys(SETUPS[name].model for name in setups)}

    def _tuned_folder(self) -> Path:
        """Folder of the deployed model; says so where this configuration would make another one."""
        model = deployed_model(self.workspace)
        if others := differences(model, self.config):
            self.reporter.say(
                f"The deployed model {model.fingerprint} was made with another {' and '.join(others)} than the "
                "configuration has now, and is used as it is; `ragft run` makes one that fits."
            )
        return model.folder

    def refuse_trained_questions(self) -> None:
        """Refuses questions that stand among the examples, where a tuned setup is to be measured.

        Raises:
            UsageError: there are such, or one of the two files cannot be read.
        """
        from ragft.data.audit import refuse_overlap
        from ragft.evaluate.run import chosen_questions

        tuned = any(SETUPS[name].tuned for name in self.config.evaluate.setups)
        if tuned and self.config.data.examples.is_file():
            refuse_overlap(read_examples(self.config.data.examples), chosen_questions(self.config))

    def evaluate(self) -> Artifact:
        """The comparison of the setups over the live index and the deployed model."""
        from ragft.engine.vllm import VllmEngine
        from ragft.evaluate.run import evaluate

        self.refuse_trained_questions()
        setups = self.config.evaluate.setups
        folders = self.model_folders(setups)
        retriever = self.retriever() if any(SETUPS[name].retrieval for name in setups) else None
        engines: Mapping[str, VllmEngine] = {
            model: VllmEngine(folder, self.config.engine, seed=self.config.seed) for model, folder in folders.items()
        }
        versions = {model: engine.model_version for model, engine in engines.items()}
        root = self.workspace / "evaluations"
        return evaluate(self.config, root, retriever, versions, engines.__getitem__, self.reporter)[0]

    def serve(self) -> None:
        """Runs the endpoint until it is told to stop."""
        folders = self.model_folders(self.config.serve.setups)
        if any(SETUPS[name].retrieval for name in self.config.serve.setups):
            self.live_snapshot()
        # By name, because imports go one way: index <- ragft <- serving.
        importlib.import_module("serving.app").serve(self.config, model_folders=folders, say=self.reporter.say)


def deploy(workspace: Path, model: Artifact) -> None:
    """Makes a merged model the deployed one: what `ask`, `serve` and `evaluate` use."""
    pointer = workspace / "models" / "CURRENT"
    if not pointer.is_file() or pointer.read_text().strip() != model.fingerprint:
        write_file(pointer, model.fingerprint.encode())


def deployed_model(workspace: Path) -> Artifact:
    """The merged model that was deployed last.

    Raises:
        RagftError: there is none yet.
    """
    pointer = workspace / "models" / "CURRENT"
    artifact = find(workspace / "models", pointer.read_text().strip()) if pointer.is_file() else None
    if artifact is None:
        raise RagftError(
            f"There is no tuned model in {workspace}: run `ragft run`, or `ragft finetune` and `ragft merge`."
        )
    return artifact


def differences(model: Artifact, config: Config) -> list[str]:
    """The keys of a configuration that a merged model was made with other values of: base model and prompt."""
    found = []
    base = model.figures.get("base", config.model.base)
    # Named otherwise, and perhaps the same: a folder can be looked into, a model of the hub is not fetched for this.
    folder, inputs = Path(config.model.base), model.manifest["inputs"]
    if base != config.model.base and not (folder.is_dir() and hash_model(folder) == inputs.get("base")):
        found.append("model.base")
    before, now = inputs.get("prompt", {}), config.prompt.model_dump(mode="json")
    return found + [f"prompt.{key}" for key, value in now.items() if key in before and before[key] != value]


def _training_note(state: TrainProgress) -> str:
    loss = f"loss {state.train_loss:.3f}"
    return f"{loss}, {state.tokens_per_second:.0f} tokens/s"


def _hash_input(path: Path, key: str) -> str:
    if not path.is_file():
        raise UsageError(f"There is no file {str(path)!r}: set {key} to one.")
    return hash_file(path)


def _hash_documents(folder: Path, section: IndexSection) -> list[tuple[str, str]]:
    """Ids and content hashes of the documents in a folder."""
    from index.documents import read_documents
    from ragft.indexing import read_settings

    return [(document.id, document.hash) for document in read_documents(folder, read_settings(section))[0]]
