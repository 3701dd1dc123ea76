"""What is done with index and models: questions are searched, setups compared, the endpoint serves."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ragft.artifacts import Artifact, sweep
from ragft.data.examples import read_examples
from ragft.finetune.registry import deployed_model, differences
from ragft.setups import SETUPS
from ragft.stages.training import TrainingStages

if TYPE_CHECKING:
    from ragft.pipeline import Retriever


class Stages(TrainingStages):
    """All stages of one configuration."""

    def retriever(self) -> Retriever:
        """Search over the live index, which is built first where there is none."""
        from index.refresh.planning import check_encoder
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

    def sweep(self) -> list[Path]:
        """Deletes what killed runs left in the workspace and nothing goes on from; returns it."""
        roots = ("data", "adapters", "models", "evaluations")
        return [path for root in roots for path in sweep(self.workspace / root)]
