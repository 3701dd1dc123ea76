"""Stages of the index: brought up to date, opened, and the one that training rows are mixed from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ragft.errors import RagftError
from ragft.stages.parts import Parts

if TYPE_CHECKING:
    from index.encoders.encoder import Encoder
    from index.refresh.refresh import RefreshReport
    from index.store.snapshot import Snapshot


class IndexStages(Parts):
    """The stages that end with a snapshot."""

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
            NoDocuments: the folder is not there, or holds no readable document.
            UsageError: the golden questions cannot be read; nothing was done.
        """
        from index.documents.folder import refuse_missing
        from index.refresh.refresh import refresh
        from ragft.indexing import refresh_settings
        from ragft.stages.gate import gate_of
        from ragft.stages.refresh_report import remarks_on

        folder = documents or self.config.index.documents
        refuse_missing(folder)  # before the seconds that an encoder takes to load
        gate = gate_of(self.config, self.encoder) if ask_gate and root is None and not dry_run else None
        with self.reporter.progress("Encoding passages") as advance:
            report = refresh(
                root or self.index_root,
                folder,
                encoder or self.encoder,
                refresh_settings(self.config, allow_removal=1.0 if allow_removal or root is not None else None),
                dry_run=dry_run,
                rebuild=rebuild,
                check_content=check_content,
                wait=wait,
                progress=lambda done, total: advance(done, total, "passages"),
                gate=gate,
                building=lambda done, total: advance(done, total, "vectors linked"),
            )
        for remark in remarks_on(report):
            self.reporter.say(remark)
        return report

    def live_snapshot(self) -> Snapshot:
        """The live index, built first where there is none."""
        from index.errors import NoSnapshot
        from index.store.snapshot import Snapshot

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
        from ragft.stages.refresh_report import held_sentence

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
        from index.store.snapshot import Snapshot

        documents = self.config.data.documents
        if documents is None:
            return self.live_snapshot()
        root = self.workspace / "data" / "index"
        self.refresh_index(root=root, documents=documents)
        return Snapshot.open(root)
