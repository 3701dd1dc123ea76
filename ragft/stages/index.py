"""The index: brought up to date, opened, and the one that training rows are mixed with."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from index.errors import EncoderMismatch, NoSnapshot
from ragft.console import Reporter
from ragft.errors import RagftError, UsageError
from ragft.stages.application import Application
from ragft.stages.reading import name_below
from ragft.stages.recognition import recognition_progress
from ragft.stages.refresh_report import held_sentence, remarks_on

if TYPE_CHECKING:
    from index.encoders.encoder import Encoder
    from index.refresh.refresh import RefreshReport
    from index.store.snapshot import Snapshot


_ENCODING = "Encoding passages"


def refresh(
    app: Application, *, dry_run: bool = False, rebuild: bool = False, check_content: bool = False, wait: bool = False,
    told: Collection[str] | None = None, ask_gate: bool = True, allow_removal: bool = False, root: Path | None = None,
    documents: Path | None = None, encoder: Encoder | None = None, reporter: Reporter | None = None,
) -> RefreshReport:  # fmt: skip
    """Brings an index up to date with its folder of documents, by default the live one; says what was skipped.

    Args:
        told: names of what changed below the folder, instead of finding it; see `index.refresh.refresh.refresh`.
        root: folder of another index than the live one: no gate is asked about it, and any document may vanish from it.
        documents: folder of other documents than `index.documents.folder`.
        ask_gate: whether the golden questions of the configuration may hold the snapshot back.
        allow_removal: let any number of documents vanish, this once.
        reporter: told instead of the application's.

    Raises:
        NoDocuments: the folder is not there, or holds no readable document.
        IndexFault: character recognition is turned on and not installed; nothing was done.
        UsageError: the golden questions cannot be read; nothing was done.
    """
    from index.documents.folder import refuse_missing
    from index.documents.scans import refuse_missing_recognition
    from index.refresh.refresh import refresh
    from ragft.stages.gate import gate_of

    config, reporter = app.config, reporter or app.reporter
    folder = documents or config.index.documents.folder
    refuse_missing(folder)  # before the seconds that an encoder takes to load
    refuse_missing_recognition(config.index.documents.settings().ocr)
    settings = config.index.refresh_settings(
        app.fixed_seed, allow_removal=1.0 if allow_removal or root is not None else None, model=app.model_tokenizer
    )  # fmt: skip
    gate = gate_of(app) if ask_gate and root is None and not dry_run else None
    with reporter.phases() as phase:
        phase(_ENCODING)
        report = refresh(
            root or app.index_root, folder, encoder or app.encoder, settings,
            dry_run=dry_run, rebuild=rebuild, check_content=check_content, told=told, wait=wait, gate=gate,
            progress=lambda done, total: phase(_ENCODING)(done, total, "passages"),
            building=lambda done, total: phase(_ENCODING)(done, total, "vectors linked"),
            recognising=recognition_progress(reporter, phase),
        )  # fmt: skip
    for remark in remarks_on(report):
        reporter.say(remark)
    return report


def names_told(app: Application, paths: Sequence[Path]) -> list[str]:
    """The names below `index.documents.folder` of files and folders that a refresh is told of.

    What neither exists nor is indexed is said and left out: there is nothing to do about it.

    Raises:
        UsageError: a path is outside the folder, or there is nothing to do about any.
    """
    from index.documents.side_files import described_file
    from index.refresh.told import rows_of_files
    from index.store.snapshot import Snapshot

    folder = app.config.index.documents.folder
    told: dict[Path, str] = {}
    for path in paths:
        name = name_below(path, folder)
        if name is None:
            raise UsageError(f"{path} is not in the folder of documents {folder}; name files or folders in it.")
        told[path] = name
    gone = {path: name for path, name in told.items() if not os.path.lexists(path)}
    if gone:
        try:
            documents = Snapshot.open(app.index_root).document_table
        except NoSnapshot:
            documents = None
        for path, name in gone.items():
            known = [name, described_file(name) or name]
            if documents is None or not len(rows_of_files(documents, known, folder)):
                app.reporter.say(f"{path} neither exists nor is indexed")
                del told[path]
    if not told:
        raise UsageError(f"Nothing that was named exists or is indexed; name what changed in {folder}.")
    return list(told.values())


def refresh_or_stop(app: Application) -> RefreshReport:
    """Brings the live index up to date for what comes after.

    Raises:
        RagftError: the gate held the new snapshot back.
    """
    report = refresh(app)
    if report.held:
        raise RagftError(held_sentence(report))
    return report


def live_snapshot(app: Application) -> Snapshot:
    """The live snapshot; the index is built first where there is none."""
    from index.store.snapshot import Snapshot

    try:
        return Snapshot.open(app.index_root, check=app.config.index.refresh.verify_on_open)
    except NoSnapshot:
        refresh_or_stop(app)
        return Snapshot.open(app.index_root)


def training_snapshot(app: Application) -> Snapshot:
    """The passages that training rows are mixed with: of the documents that the examples were written from."""
    documents = app.config.data.documents
    return live_snapshot(app) if documents is None else app.once("apart", lambda: _index_apart(app, documents))


def _index_apart(app: Application, documents: Path) -> Snapshot:
    """A snapshot of documents that are not the live ones, in an index of their own."""
    from index.store.snapshot import Snapshot

    root = app.workspace / "data" / "index"
    try:
        refresh(app, root=root, documents=documents)
    except EncoderMismatch:  # nobody else reads it, so that it can be built again without being asked to
        refresh(app, root=root, documents=documents, rebuild=True)
    return Snapshot.open(root)
