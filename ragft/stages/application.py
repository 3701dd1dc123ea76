"""One application: its configuration, and what it names, loaded when it is first asked for.

Commands, stages and the endpoint share one `Application`, so that nothing is read, loaded or looked up twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ragft.artifacts import Artifact, build, find, fingerprint_of, hash_file, hash_folder, hash_model, sweep
from ragft.config import Config
from ragft.console import Reporter
from ragft.data.examples import Example, read_examples
from ragft.data.questions import Question, read_questions, sample
from ragft.errors import MissingDependency, UsageError
from ragft.finetune.registry import Registry
from ragft.models import load_encoder, resolve_encoder, resolve_model, resolve_reranker
from ragft.setups import SETUPS
from ragft.stages.inputs import STAGES, Stage
from ragft.stages.recognition import recognising
from ragft.templates import Template

if TYPE_CHECKING:
    from index.documents.document import Document, Skipped
    from index.documents.lengths import ModelTokenizer
    from index.encoders.encoder import Encoder
    from index.encoders.reranker import Reranker
    from index.store.filters import Labels
    from index.store.snapshot import Snapshot
    from ragft.engine.base import Engine
    from ragft.pipeline import Retriever

T = TypeVar("T")


@dataclass(frozen=True)
class Inputs:
    """What decides one artifact.

    Attributes:
        stages: of the table of stages, whose keys and packages decide it; the first one makes it.
        values: what decides it besides: contents of files, outputs of earlier stages.
        parents: fingerprints of the artifacts that it is made from, by kind.
    """

    stages: tuple[Stage, ...]
    values: Mapping[str, Any]
    parents: Mapping[str, str] = field(default_factory=dict)


class Application:
    """What one configuration names. Paths, models, data and artifacts are found once."""

    def __init__(self, config: Config, reporter: Reporter) -> None:
        self.config = config
        self.reporter = reporter
        self.workspace = config.workspace_folder
        self.index_root = self.workspace / "index"
        self.registry = Registry(self.workspace / "models")
        self._made: dict[str, Any] = {}

    @property
    def fixed_seed(self) -> int:
        """Seeds what stays where a training is repeated with another seed: the split, the questions, the index."""
        return self.config.seed

    # --- models

    @cached_property
    def base(self) -> Path:
        """Folder of the base model."""
        return resolve_model(self.config.model.base, self.reporter.say)

    @cached_property
    def base_hash(self) -> str:
        return hash_model(self.base)

    @cached_property
    def tokenizer(self) -> Any:
        """The base model's tokenizer."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.base, local_files_only=True)

    @cached_property
    def template(self) -> Template:
        """The base model's chat template, as conversations are rendered by it everywhere."""
        return Template(self.tokenizer, self.config.prompt.template_options)

    @cached_property
    def model_tokenizer(self) -> ModelTokenizer | None:
        """The base model's tokenizer, as the index counts passages with it; None, which is said, without the model."""
        from index.documents.lengths import ModelTokenizer

        try:
            fingerprint = hash_folder(self.base, ["tokenizer*", "vocab*", "merges.txt", "*.model"])
        except (UsageError, MissingDependency) as error:
            self.reporter.say(f"Passages are not bounded in tokens of the language model, which is not here: {error}")
            return None
        return ModelTokenizer(fingerprint, lambda: self.tokenizer)

    @cached_property
    def encoder_folder(self) -> Path:
        """Folder of the index's encoder."""
        return resolve_encoder(self.config.index.encoder.model, self.reporter.say)

    @cached_property
    def encoder(self) -> Encoder:
        """The index's encoder."""
        return self.load_encoder(self.encoder_folder)

    def load_encoder(self, folder: Path) -> Encoder:
        """Any encoder, run as the configuration says."""
        encoder = load_encoder(self.config.index.encoder, self.reporter.say, folder)
        if encoder.note:
            self.reporter.say(encoder.note)
        return encoder

    @cached_property
    def reranker_folder(self) -> Path | None:
        """Folder of the cross-encoder; None where the configuration names none."""
        name = self.config.index.search.reranker
        return None if name is None else resolve_reranker(name, self.reporter.say)

    @cached_property
    def reranker(self) -> Reranker | None:
        """The cross-encoder, loaded; None where the configuration names none."""
        if self.reranker_folder is None:
            return None
        from index.encoders.reranker import CrossEncoderReranker

        return CrossEncoderReranker(self.reranker_folder, dtype=self.encoder.dtype)

    def engine(self, folder: Path, **settings: Any) -> Engine:
        """The engine over a model's folder, not started yet; further settings are those of `engine.open`."""
        from index.encoders.precision import native_format
        from ragft import engine

        if self.config.engine.dtype == "bfloat16" and native_format() != "bfloat16":
            self.reporter.say(
                "engine.dtype is bfloat16, which this processor only emulates, many times slower than float32; auto "
                "takes what the processor multiplies."
            )
        template, chosen = self.config.prompt.template_options, self.config.engine
        model = "base"
        if chosen.backend == "remote" and folder != self.base:
            model, current = "tuned", self.registry.current()
            if folder.name != current:  # what is not deployed yet is nowhere else
                chosen = chosen.model_copy(update={"backend": "vllm"})
        return engine.open(folder, chosen, seed=self.config.seed, template=template, model=model, **settings)

    def model_folders(self, setups: Sequence[str]) -> dict[str, Path]:
        """Folder of each model that these setups need, by `Setup.model`.

        Raises:
            RagftError: a setup needs a tuned model, and none is deployed.
        """
        return {model: self.model_folder(model) for model in dict.fromkeys(SETUPS[name].model for name in setups)}

    def model_folder(self, model: str) -> Path:
        """Folder of one of the two models: `base` or `tuned`; raises as `model_folders`."""
        return self.base if model == "base" else self._deployed_folder()

    def _deployed_folder(self) -> Path:
        """Folder of the deployed model; says so where this configuration would make another one."""
        model = self.registry.deployed()
        if others := self.registry.differences(model, self.config):
            self.reporter.say(
                f"The deployed model {model.fingerprint} was trained with another {' and '.join(others)} than the "
                "configuration names now. It is used as it is; `ragft run` trains one that fits."
            )
        return model.folder

    # --- data

    @cached_property
    def examples(self) -> tuple[Example, ...]:
        """The training examples."""
        return read_examples(self.config.data.examples, told=self.reporter.say)

    @cached_property
    def all_questions(self) -> tuple[Question, ...]:
        """The evaluation questions that are asked: all of them, or a seeded sample."""
        questions = read_questions(self.config.data.questions)
        return sample(questions, self.config.evaluate.limit, self.fixed_seed)

    @property
    def questions(self) -> tuple[Question, ...]:
        """Those that setups are compared on: all but what prompts are chosen on."""
        return self._parted_questions[1]

    @property
    def held_out(self) -> tuple[Question, ...]:
        """Those that `evaluate.prompts` are chosen on; none where there is nothing to choose."""
        return self._parted_questions[0]

    @cached_property
    def _parted_questions(self) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
        settings, questions = self.config.evaluate, self.all_questions
        if not settings.prompts:
            return (), questions
        from ragft.evaluate.statistics import cluster_questions

        clusters = cluster_questions(questions)
        if clusters.count < 2:
            limit = "" if settings.limit is None else f", with evaluate.limit = {settings.limit}"
            raise UsageError(
                f"No question can be held out to choose one of evaluate.prompts on, because all {len(questions)} are "
                f"about one document or of one group{limit}: ask about several, or leave evaluate.prompts out."
            )
        held_out, compared = clusters.parted(settings.choose_share, self.config.seed)
        return tuple(questions[place] for place in held_out), tuple(questions[place] for place in compared)

    @property
    def labels(self) -> Labels:
        """The access labels of the caller that an evaluation stands for; None: may see everything."""
        from index.store.filters import parse_labels

        named = self.config.evaluate.labels
        return None if named is None else parse_labels(",".join(named))

    @cached_property
    def documents(self) -> tuple[list[Document], list[Skipped]]:
        """The documents of the live index's folder, and what could not be read there."""
        return self._read_documents(self.config.index.documents.folder)

    @cached_property
    def training_documents(self) -> tuple[list[Document], list[Skipped]]:
        """The documents that the examples were written from, and what could not be read of them."""
        folder = self.config.data.documents
        return self.documents if folder is None else self._read_documents(folder)

    def _read_documents(self, folder: Path) -> tuple[list[Document], list[Skipped]]:
        from index.documents.folder import read_documents

        settings = self.config.index.documents.settings()
        with recognising(self.index_root, settings, self.reporter) as scans:
            return read_documents(folder, settings, scans=scans)

    def retriever(self, snapshot: Snapshot) -> Retriever:
        """Search over a snapshot, as the configuration says.

        Raises:
            EncoderMismatch: another encoder built the snapshot.
        """
        from ragft.pipeline import Retriever

        snapshot.check_encoder(self.encoder)
        return Retriever(snapshot, self.encoder, self.config.index.search.settings(), self.reranker)

    # --- artifacts

    def build(self, inputs: Inputs, work: Callable[[Path], Mapping[str, Any]]) -> Artifact:
        """The artifact of these inputs: found if it exists, else made; see `ragft.artifacts.build`."""
        root, kind, values, packages = self._decided(inputs)
        return build(root, kind, values, work, packages=packages, parents=inputs.parents)[0]

    def find(self, inputs: Inputs) -> Artifact | None:
        """The artifact of these inputs, if it exists."""
        root, kind, values, packages = self._decided(inputs)
        return find(root, fingerprint_of(kind, values, packages))

    def _decided(self, inputs: Inputs) -> tuple[Path, str, dict[str, Any], list[str]]:
        stage = inputs.stages[0]
        keys = {key: value for part in inputs.stages for key, value in part.values(self.config).items()}
        packages = [package for part in inputs.stages for package in part.packages]
        return self.workspace / stage.folder, stage.name, {**keys, **inputs.values}, packages

    def once(self, name: str, make: Callable[[], T]) -> T:
        """The output of a stage, made or looked up once for this application."""
        if name not in self._made:
            self._made[name] = make()
        made: T = self._made[name]
        return made

    def hash_input(self, path: Path | None, key: str) -> str | None:
        """16 hex digits over the content of a file that a key names; None where it names none.

        Raises:
            UsageError: there is no such file.
        """
        if path is None:
            return None
        if not path.is_file():
            raise UsageError(f"There is no file {str(path)!r}: set {key} to one.")
        return hash_file(path)

    def encoder_hashes(self) -> dict[str, str | None]:
        """The contents of encoder and reranker, without loading them."""
        folders = {"encoder": self.encoder_folder, "reranker": self.reranker_folder}
        return {name: folder if folder is None else hash_folder(folder, ["**/*"]) for name, folder in folders.items()}

    def sweep(self) -> list[Path]:
        """Deletes what killed runs left in the workspace and no stage would continue from; returns it."""
        folders = dict.fromkeys(stage.folder for stage in STAGES if stage.name != "index")
        return [path for folder in folders for path in sweep(self.workspace / folder)]
