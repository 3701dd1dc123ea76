"""Stages of training: the adapter, and the merged model that is deployed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragft.artifacts import Artifact, build, hash_file, hash_model
from ragft.errors import UsageError
from ragft.finetune.registry import deploy
from ragft.prompts import template_hash
from ragft.stages.data import DataStages

if TYPE_CHECKING:
    from ragft.finetune.fast.trainer import TrainProgress


class TrainingStages(DataStages):
    """The stages that end with a tuned model."""

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


def _training_note(state: TrainProgress) -> str:
    loss = f"loss {state.train_loss:.3f}"
    return f"{loss}, {state.tokens_per_second:.0f} tokens/s"
