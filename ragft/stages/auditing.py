"""The audit of the examples, with tokens and a map where model and index are at hand, and the cleaned copy."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index.durable import replacing, write_file
from index.errors import IndexFault
from ragft.artifacts import Artifact
from ragft.data.audit import AUDIT_VERSION, Audit, audit
from ragft.data.audit.page import render_audit
from ragft.data.clean import CLEAN_VERSION, ROWS, write_clean
from ragft.data.jsonl import refuse_existing
from ragft.data.personal import PERSONAL_VERSION, pseudonyms_of
from ragft.data.questions import Question
from ragft.data.sources import Source
from ragft.models import model_at_hand
from ragft.stages.application import Application, Inputs
from ragft.stages.inputs import CLEAN

if TYPE_CHECKING:
    from ragft.data.audit.coverage import Coverage
    from ragft.data.audit.scan import Tokens

_FOLDER = "audit"
PAGE, FLAGGED = "audit.html", "rows.jsonl"


def run_audit(app: Application) -> tuple[Audit, Path]:
    """The audit, and the folder of its page and of its list of rows; an audit that ran before is replaced."""
    app.workspace.mkdir(parents=True, exist_ok=True)
    folder = app.workspace / _FOLDER
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".audit-", dir=app.workspace) as growing:
        found = audit(
            app, Path(growing), tokens=_tokens(app), reporter=app.reporter,
            coverage=lambda examples, questions: _coverage(app, examples, questions),
        )  # fmt: skip
        page = render_audit(found, app.config.name, app.config.seed)
        write_file(folder / PAGE, page.encode(), private=True)
        (Path(growing) / FLAGGED).replace(folder / FLAGGED)
    return found, folder


def _tokens(app: Application) -> Tokens | None:
    """Counts tokens as the base model does; None where it is not here."""
    folder = model_at_hand(app.config.model.base)
    path = folder / "tokenizer.json" if folder else None
    if path is None or not path.is_file():
        app.reporter.say(
            f"Lengths are told in characters alone: the tokenizer of {app.config.model.base} is not here yet, and "
            "`ragft check` brings it."
        )
        return None
    from tokenizers import Tokenizer

    # Not transformers': that takes seconds to import, and counts the same.
    tokenizer: Any = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(texts: list[str]) -> list[int]:
        return [len(one.ids) for one in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    return count


def _coverage(app: Application, examples: Counter[Source], questions: Sequence[Question]) -> Coverage | str:
    from index.store.snapshot import Snapshot
    from ragft.data.audit.coverage import coverage_of

    if not examples and not any(question.sources for question in questions):
        return "neither examples nor questions name sources, so that their places in the documents are not known"
    try:
        snapshot = Snapshot.open(app.index_root)
    except IndexFault:
        return "there is no index yet: run `ragft index build` to see which documents have examples and questions"
    return coverage_of(snapshot, examples, questions, app.config.seed)


def clean(app: Application) -> Artifact:
    """A cleaned copy of the examples, with a log of every change. The file itself is only read.

    Raises:
        UsageError: there is no such file.
    """
    data, pseudonyms = app.config.data, pseudonyms_of(app.workspace)

    def work(folder: Path) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix=".audit-", dir=app.workspace) as growing:
            tokens = _tokens(app) if "length" in data.clean.drop else None
            found = audit(app, Path(growing), tokens=tokens, reporter=app.reporter)
            with app.reporter.progress("Writing the copy") as advance:
                return write_clean(found.scan, folder, data.clean.drop, pseudonyms, advance).to_json()

    inputs = {
        "versions": [AUDIT_VERSION, CLEAN_VERSION, PERSONAL_VERSION],
        "secret": pseudonyms.fingerprint,
        "examples": app.hash_input(data.examples, "data.examples"),
        "validation": app.hash_input(data.validation, "data.validation"),
        "questions": app.hash_input(data.questions, "data.questions") if data.questions.is_file() else None,
        "toxic_words": app.hash_input(data.audit.toxic_words, "data.audit.toxic_words"),
        "documents": _documents(app) if {"source", "unsupported"} & set(data.clean.drop) else None,
    }
    return app.build(Inputs((CLEAN,), inputs), work)


def _documents(app: Application) -> list[tuple[str, str]]:
    from blake3 import blake3

    documents, _ = app.training_documents
    return [(document.id, blake3(document.text.encode()).hexdigest()[:16]) for document in documents]


def copy_out(artifact: Artifact, out: Path) -> None:
    """Writes the cleaned examples to a file of the user's.

    Raises:
        UsageError: it exists already: nothing is overwritten, the original least of all.
    """
    refuse_existing(out)
    with (artifact.folder / ROWS).open("rb") as rows, replacing(out) as file:
        shutil.copyfileobj(rows, file)
