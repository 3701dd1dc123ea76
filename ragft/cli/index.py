"""The commands of the index. Imports nothing heavy until a command runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragft.cli.options import AllowRemoval, AskGate, SeenWith, Wait, Where, command, restrictions
from ragft.cli.results import show_artifact, show_refresh
from ragft.errors import UsageError

if TYPE_CHECKING:
    from index.refresh.refresh import RefreshReport
    from index.store.maintenance import Verification
    from ragft.stages.application import Application
    from ragft.stages.reading import ReadDocument

commands = typer.Typer(
    help="The index: build, refresh, search, list, compare, roll back, publish, verify, compact, delete old snapshots.",
    no_args_is_help=True,
)


@command(commands)
def build(
    app: Application,
    rebuild: Annotated[bool, typer.Option(help="Encode everything again, aside, and flip at the end.")] = False,
    ask_gate: AskGate = True,
    allow_removal: AllowRemoval = False,
    wait: Wait = False,
) -> None:
    """Index the documents."""
    from ragft.stages.index import refresh

    report = refresh(app, rebuild=rebuild, ask_gate=ask_gate, allow_removal=allow_removal, wait=wait)
    _show_counted(app, report)


@command(commands, "refresh")
def refresh_(
    app: Application,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Files or folders of documents that changed, came or went: nothing else is looked at. Default: the "
            "changes are found.",
            metavar="[PATH...]",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Print the plan and change nothing.")] = False,
    ask_gate: AskGate = True,
    allow_removal: AllowRemoval = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on, and refresh whenever documents change; Ctrl-C ends it.")
    ] = False,
    poll: Annotated[
        float | None,
        typer.Option(
            min=0.1, metavar="SECONDS", help="With --watch: look so often, where a file system reports no changes."
        ),
    ] = None,
    check_content: Annotated[
        bool, typer.Option("--check-content", help="Read every file, also those whose size and times did not change.")
    ] = False,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="Count repeated passages too, as build does.")
    ] = False,
    wait: Wait = False,
) -> None:
    """Bring the index up to date with the documents: only what changed is encoded, and readers are never disturbed."""
    if watch and dry_run:
        raise UsageError("--watch and --dry-run exclude each other: a dry run looks once.")
    if paths and (watch or check_content):
        raise UsageError("PATH says what changed, which --watch and --check-content find out: give one or the other.")
    if poll is not None and not watch:
        raise UsageError("--poll says how --watch looks for changes: give both, or none.")
    from ragft.stages.index import names_told, refresh

    told = names_told(app, paths) if paths else None
    work = partial(
        refresh, app, told=told, ask_gate=ask_gate, allow_removal=allow_removal, check_content=check_content, wait=wait
    )
    if watch:
        from ragft.cli.watch import keep_fresh

        keep_fresh(app, lambda changed: work(told=changed), poll)
    elif duplicates and not dry_run:
        _show_counted(app, work())
    elif show_refresh(app, work(dry_run=dry_run), dry_run=dry_run):
        raise typer.Exit(1)


def _show_counted(app: Application, report: RefreshReport) -> None:
    """What a refresh did, and how many passages of the live index repeat others."""
    if show_refresh(app, report, *_repeated(app)):
        raise typer.Exit(1)


def _repeated(app: Application) -> tuple[dict[str, int], tuple[str, ...]]:
    """How many passages of the live index repeat others: figures, and a line where there are any.

    All passages are compared, so this costs what exists, not what changed.
    """
    from index.search.duplicates import find_duplicates
    from ragft.stages.index import live_snapshot

    found = find_duplicates(live_snapshot(app).chunks())
    figures = {"duplicate_passages": found.superfluous, "near_duplicate_groups": len(found.near)}
    if not found.exact and not found.near:
        return figures, ()
    kept = ", collapsed in searches" if app.config.index.search.duplicates == "collapse" else ""
    told = f"{found.superfluous} passages repeat others word for word{kept}, {len(found.near)} groups nearly do"
    return figures, (f"{told}: see `ragft index duplicates`",)


@command(commands)
def duplicates(app: Application) -> None:
    """List the passages that repeat others, word for word or nearly."""
    from dataclasses import asdict

    from index.search.duplicates import find_duplicates
    from ragft.stages.index import live_snapshot

    found = find_duplicates(live_snapshot(app).chunks())
    lines = [
        f"{'same' if group.similarity == 1.0 else f'{group.similarity:.2f}'}  {'  '.join(group.chunk_ids)}"
        for group in (*found.exact, *found.near)
    ]
    summary = f"{found.superfluous} passages repeat others word for word, {len(found.near)} groups nearly do"
    app.reporter.result(asdict(found), *lines, summary)


@command(commands)
def read(
    app: Application,
    paths: Annotated[list[Path], typer.Argument(help="Files or folders of documents.", metavar="PATH...")],
) -> None:
    """Show what is read from files: text, title, labels, metadata and passages. Needs no index and changes none."""
    from ragft.stages.reading import read

    reading = read(app, paths)
    lines = [line for document in reading.documents for line in _document_lines(document)]
    lines += [f"Skipped {item.path}: {item.reason}" for item in reading.skipped]
    passages = sum(len(document.passages) for document in reading.documents)
    summary = f"{len(reading.documents)} documents, {passages} passages; {len(reading.skipped)} skipped"
    app.reporter.result(reading.to_json(), *lines, summary)
    if any(not item.by_rule for item in reading.skipped):
        raise typer.Exit(1)


def _document_lines(read: ReadDocument) -> list[str]:
    """A document and its passages, for people."""
    document = read.document
    lines = [f"== {document.id}", f"title: {document.title}", f"labels: {', '.join(document.labels) or 'everybody'}"]
    lines += [f"{key}: {value}" for key, value in document.metadata.items()]
    lines += ["", document.text.strip(), ""]
    for number, passage in enumerate(read.passages, start=1):
        chunk = passage.chunk
        page = "" if chunk.page is None else f", page {chunk.page}"
        model = "" if passage.model_tokens is None else f", {passage.model_tokens} of the model"
        size = f"{passage.encoder_tokens} tokens of the encoder{model}"
        lines += [f"[{number}] characters {chunk.start}-{chunk.end}{page}: {size}", chunk.passage, ""]
    return lines


@command(commands)
def search(
    app: Application,
    query: Annotated[str, typer.Argument(help="What to search for.")],
    k: Annotated[int | None, typer.Option("-k", min=1, help="Passages to show; default: index.search.top_k.")] = None,
    where: Where = None,
    labels: SeenWith = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each ranks where it does.")] = False,
) -> None:
    """Show the passages that a question would be answered from."""
    from dataclasses import asdict

    from rich.text import Text

    from ragft.pipeline import all_cited
    from ragft.stages.index import live_snapshot

    only, seen_with = restrictions(where, labels)
    (found,) = app.retriever(live_snapshot(app)).search([query], k, filter=only, labels=seen_with, explain=explain)

    def score(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    shown = [
        f"[{number}] {hit.chunk_id}{'' if hit.page is None else f', page {hit.page}'}  score {hit.score:.4f}, "
        f"dense {score(hit.dense_score)}, lexical {score(hit.lexical_score)}\n{hit.passage}\n"
        for number, hit in enumerate(found.passages, start=1)
    ]
    why = [
        "\n  ".join([f"Why [{number}] {hit.chunk_id}:", *hit.explanation.sentences(number, hit.rerank_score)]) + "\n"
        for number, hit in enumerate(found.hits, start=1)
        if hit.explanation is not None
    ]
    summary = f"{len(shown)} passages in {found.milliseconds:.0f} ms from snapshot {found.index_version}"
    timings = {stage: round(spent, 2) for stage, spent in found.timings_ms.items()}
    app.reporter.result(
        {
            "index_version": found.index_version,
            "hits": [hit.told(number) for number, hit in enumerate(found.hits, start=1)],
            "passages": [asdict(passage) for passage in all_cited(found.passages)],
            "timings_ms": timings,
            "notes": found.notes,
        },
        *shown,
        *why,
        *found.notes,
        summary,
        Text(", ".join(f"{stage} {spent:.2f} ms" for stage, spent in timings.items()), style="dim"),
    )


@command(commands, "list")
def list_(
    app: Application,
    documents: Annotated[bool, typer.Option("--documents", help="The documents of the live one instead.")] = False,
) -> None:
    """List the snapshots, the live one and those that the gate holds back marked."""
    from dataclasses import asdict

    from index.store.snapshot import list_snapshots

    if documents:
        _list_documents(app)
        return
    snapshots = list_snapshots(app.index_root)
    lines = [
        f"{'*' if s.is_current else ' '} {s.id}  {s.created}  {s.documents} documents, {s.chunks} passages"
        f"{f'  held: {s.held[0]}' if s.held else ''}"
        + "".join(f"\n    segment {part.name}: {part.rows} vectors, {part.vectors}" for part in s.segments)
        for s in snapshots
    ]
    app.reporter.result({"snapshots": [asdict(s) for s in snapshots]}, *lines or ["There are no snapshots yet."])


def _list_documents(app: Application) -> None:
    """Format, pages and passages of each document in the live index."""
    from pathlib import PurePosixPath

    from index.store.snapshot import Snapshot

    snapshot = Snapshot.open(app.index_root)
    rows: dict[str, dict[str, Any]] = {
        entry.id: {
            "id": entry.id, "title": entry.title, "last_page": None, "passages": 0,
            "format": PurePosixPath(entry.id).suffix.partition("#")[0].removeprefix("."),
        }
        for entry in snapshot.documents()
    }  # fmt: skip
    for chunk in snapshot.chunks():
        row = rows[chunk.document_id]
        row["passages"] += 1
        if chunk.page is not None:
            row["last_page"] = max(row["last_page"] or 0, chunk.page)
    lines = [
        f"{row['id']}  {row['title']!r}  {row['format']}  "
        f"{f'text to page {page}, ' if (page := row['last_page']) else ''}{row['passages']} passages"
        for row in rows.values()
    ]
    app.reporter.result({"snapshot": snapshot.id, "documents": list(rows.values())}, *lines)


@command(commands)
def rollback(
    app: Application,
    snapshot: Annotated[str | None, typer.Argument(help="Snapshot to go back to; default: the one before.")] = None,
) -> None:
    """Make an older snapshot the live one."""
    from index.store.maintenance import rollback as roll_back

    live = roll_back(app.index_root, snapshot)
    app.reporter.result({"snapshot": live}, f"Snapshot {live} is live in {app.index_root}")


@command(commands)
def publish(
    app: Application,
    snapshot: Annotated[str, typer.Argument(help="Snapshot to make live as it is, as `ragft index list` names it.")],
) -> None:
    """Make a snapshot live that the gate holds back."""
    from index.store.maintenance import publish as publish_as_it_is

    publish_as_it_is(app.index_root, snapshot)
    app.reporter.result({"snapshot": snapshot}, f"Snapshot {snapshot} is live in {app.index_root}")


@command(commands)
def verify(
    app: Application,
    snapshot: Annotated[str | None, typer.Argument(help="Snapshot to read; default: the live one.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Read all snapshots.")] = False,
) -> None:
    """Read every file of a snapshot, or of all, and compare it with its checksum."""
    from dataclasses import asdict

    from index.errors import CorruptSnapshot
    from index.store.maintenance import verify as verify_one
    from index.store.maintenance import verify_all

    root = app.index_root
    found = verify_all(root) if everything else [verify_one(root, snapshot)]
    intact = all(item.intact for item in found)
    way_out = (
        "Go to an intact snapshot with `ragft index rollback`, or build anew with `ragft index build --rebuild`; "
        "if the disk did the damage, replace the disk first."
    )
    if not (intact or everything or app.reporter.as_json):
        raise CorruptSnapshot(f"Snapshot {found[0].id} in {root} is damaged: {found[0].reason}. {way_out}")
    values: dict[str, Any] = {
        "intact": intact,
        "snapshots": [{**asdict(item), "intact": item.intact} for item in found],
    }
    if not everything:
        values["snapshot"] = found[0].id
    app.reporter.result(values, *[_verification_line(item) for item in found], *([] if intact else [way_out]))
    if not intact:
        raise typer.Exit(1)


def _verification_line(item: Verification) -> str:
    live = " (live)" if item.is_current else ""
    if item.intact:
        return f"Snapshot {item.id}{live} is intact: {item.files} files, {_megabytes(item.bytes)}"
    return f"Snapshot {item.id}{live} is damaged: {item.reason}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


@command(commands)
def compact(app: Application, wait: Wait = False) -> None:
    """Merge all segments of the live snapshot into one without removed rows; it stays the same snapshot."""
    from dataclasses import asdict

    from index.store.maintenance import compact as compact_index

    with app.reporter.progress("Compacting") as advance:
        report = compact_index(
            app.index_root, app.config.index.vectors.settings(app.config.seed), wait=wait,
            building=lambda done, total: advance(done, total, "vectors linked"),
        )  # fmt: skip
    done = (
        f"{report.segments} segments are one now, {report.removed} removed rows are gone"
        if report.published
        else "It is one segment without removed rows already"
    )
    app.reporter.result(asdict(report), done, f"Snapshot {report.snapshot_id} is live in {app.index_root}")


@command(commands, "gc")
def gc_(
    app: Application,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Newest snapshots that stay; default: index.refresh.keep_snapshots.")
    ] = None,
    older_than: Annotated[
        float | None, typer.Option(min=0, help="Delete only what is older than so many days.", metavar="DAYS")
    ] = None,
    cache: Annotated[
        bool,
        typer.Option("--cache", help="Delete the vectors kept from older snapshots (index.refresh.cache_mib), too."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go and delete nothing.")] = False,
    wait: Wait = False,
) -> None:
    """Delete old snapshots and the files that only they need; never the live one, nor the one before it."""
    from dataclasses import asdict

    from index.store.maintenance import gc

    keep = keep or app.config.index.refresh.keep_snapshots
    report = gc(app.index_root, keep, older_than_days=older_than, cache=cache, dry_run=dry_run, wait=wait)
    verb = "Would delete" if dry_run else "Deleted"
    lines = [f"{verb} snapshot {name}" for name in report.removed]
    lines += [f"{verb} the damaged manifest {name}" for name in report.damaged]
    summary = f"{len(report.removed)} snapshots go, {report.kept} stay; {_megabytes(report.freed)} are freed"
    app.reporter.result({**asdict(report), "dry_run": dry_run}, *lines, summary)


@command(commands, "diff")
def diff_(
    app: Application,
    before: Annotated[str, typer.Argument(help="Snapshot to start from.")],
    after: Annotated[str | None, typer.Argument(help="Snapshot to compare with; default: the live one.")] = None,
) -> None:
    """Tell what documents and passages two snapshots have that the other has not."""
    from dataclasses import asdict

    from index.store.folder import current_id
    from index.store.maintenance import diff
    from ragft.console import counted
    from ragft.stages.refresh_report import documents_counted

    found = diff(app.index_root, before, after or current_id(app.index_root))
    marks = (("+", found.added), ("~", found.changed), ("-", found.removed))
    lines = [f"{mark} {name}" for mark, names in marks for name in names]
    lines += [] if found.same_encoder else ["Another encoder made the vectors."]
    lines += [] if found.same_settings else ["The documents were cut by other settings."]
    summary = (
        f"{documents_counted(len(found.added), len(found.changed), len(found.removed), found.unchanged)}; "
        f"{counted(found.chunks_added, 'passage')} added, {found.chunks_removed} removed, "
        f"{found.chunks_unchanged} unchanged"
    )
    app.reporter.result(asdict(found), *lines, summary)


_TRAINING = {key: f"index.encoder.training.{key}" for key in ("epochs", "batch_size", "learning_rate")}


@command(commands, "train-encoder", **_TRAINING)
def train_encoder_(
    app: Application,
    pairs: Annotated[
        Path | None, typer.Option(help="JSONL of questions with sources or passages; default: data.examples.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Default: index.encoder.training.epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Default: index.encoder.training.batch_size.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Default: index.encoder.training.learning_rate.")] = None,
) -> None:
    """Train the encoder on the domain and compare it with the current one; replaces nothing."""
    from ragft.evaluate.encoders import figures_table, verdict
    from ragft.stages.encoder import train_encoder

    artifact = train_encoder(app, pairs)
    show_artifact(app, artifact, figures_table(artifact), verdict(artifact))
    if not artifact.figures["better"]:
        raise typer.Exit(1)
