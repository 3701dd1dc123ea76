"""The command line: one command per job. Imports nothing heavy until a command runs.

Exit status: 0 done; 1 failed or a gate was not met; 2 wrong use or wrong configuration; 130 interrupted.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragft.errors import RagftError

if TYPE_CHECKING:
    from ragft.artifacts import Artifact
    from ragft.stages import Stages

app = typer.Typer(
    name="ragft",
    help="Turns a folder of documents and a file of example answers into a chat endpoint, and shows by a controlled "
    "experiment which of four setups is worth deploying: prompt-only, rag-only, fine-tuned, hybrid.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data = typer.Typer(help="Examples: audit, split, mix with passages, show.", no_args_is_help=True)
index = typer.Typer(help="The index: build, refresh, search, list, roll back, verify.", no_args_is_help=True)
app.add_typer(data, name="data")
app.add_typer(index, name="index")

ConfigFile = Annotated[Path, typer.Option("-c", "--config", help="Configuration file.", metavar="FILE")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override one key, as in --set finetune.epochs=3. Repeatable.", metavar="KEY=VALUE"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")]
DEFAULT_CONFIG = Path("ragft.yaml")

_workspace: Path | None = None
"""Where this process writes, once it knows."""


def main() -> None:
    """Runs the command line; prints what is refused as one sentence, and a traceback only with `--debug`."""
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    try:
        app()
    except SystemExit as end:
        # This is what typer makes of Ctrl-C.
        if end.code == 130:
            sys.stderr.write("\nInterrupted. Nothing is lost: the same command goes on from here.\n")
        raise
    except BrokenPipeError:
        # The reader of our output left, as `| head` does. Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        status, sentence = _refusal(error)
        if debug or sentence is None:
            raise
        sys.stderr.write(f"ragft: {sentence}\n")
        sys.exit(status)


def _refusal(error: Exception) -> tuple[int, str | None]:
    """Exit status and sentence of an error that is not a bug; None for one that is."""
    from index.errors import IndexFault

    if isinstance(error, RagftError):
        return error.exit_status, str(error)
    if isinstance(error, IndexFault):
        return 1, str(error)
    if _is_full_disk(error):
        # A write that fails seldom knows its file.
        full = getattr(error, "filename", None) or _workspace
        where = f" ({full})" if full else ""
        return (
            1,
            f"The disk is full{where}: free some space and run the command again; what was published is unharmed.",
        )
    if isinstance(error, PermissionError):
        return (
            1,
            f"No permission for {error.filename}: change its owner or mode, or set `workspace` to another folder.",
        )
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] not in (
        "ragft",
        "index",
        "serving",
    ):
        return (
            1,
            f"The package {error.name!r} is not installed; `ragft doctor` says what is missing and how to get it.",
        )
    return 1, None


def _is_full_disk(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # safetensors, which is written in Rust, wraps what the system said.
    return type(error).__name__ == "SafetensorError" and f"os error {errno.ENOSPC}" in str(error)


def _stages(config: Path, overrides: list[str] | None, as_json: bool = False) -> Stages:
    from ragft.config import load_config
    from ragft.console import Reporter, prepare_process
    from ragft.stages import Stages

    prepare_process()
    stages = Stages(load_config(config, overrides), Reporter(as_json))
    global _workspace
    _workspace = stages.workspace
    return stages


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """`--debug` is read by `main`, wherever it stands; here it is only declared for `--help`."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the domain and of the folder to make.")],
    as_json: AsJson = False,
) -> None:
    """Scaffold a domain: configuration, documents/, examples.jsonl, questions.jsonl."""
    from ragft.console import Reporter
    from ragft.scaffold import scaffold

    folder = scaffold(Path(name))
    Reporter(as_json).result(
        {"folder": str(folder)}, f"Made {folder}/. Next: put your documents and examples there, then\n"
        f"  cd {folder} && ragft check && ragft run"
    )  # fmt: skip


@app.command()
def check(config: ConfigFile = DEFAULT_CONFIG, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Dry run: configuration, data, hardware, memory and time estimate, five questions through retrieval and prompt."""
    from ragft.check import check_all

    stages = _stages(config, overrides, as_json)
    findings = check_all(stages)
    stages.reporter.result(findings.to_json(), findings.table(), findings.summary())
    if findings.errors:
        raise typer.Exit(1)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Versions, devices, what is missing and how to get it."""
    from ragft.check import diagnose
    from ragft.console import Reporter

    findings = diagnose()
    Reporter(as_json).result(findings.to_json(), findings.table(), findings.summary())
    if findings.errors:
        raise typer.Exit(1)


@data.command()
def audit(config: ConfigFile = DEFAULT_CONFIG, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Look for what is wrong with the examples and questions: duplicates, overlap, form, sources."""
    from ragft.data.audit import audit_data

    stages = _stages(config, overrides, as_json)
    findings = audit_data(stages.config)
    stages.reporter.result(findings.to_json(), findings.table(), findings.summary())
    if findings.errors:
        raise typer.Exit(1)


@data.command("split")
def split_(config: ConfigFile = DEFAULT_CONFIG, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Part the examples into training and validation, by group."""
    stages = _stages(config, overrides, as_json)
    _show(stages, stages.split(), lambda f: f"{f['train']} examples to train on, {f['validation']} to validate")


@data.command()
def mix(config: ConfigFile = DEFAULT_CONFIG, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Mix the examples with passages of the index."""
    stages = _stages(config, overrides, as_json)
    _show(
        stages,
        stages.mix(),
        lambda f: f"{f['train']['rows']} rows to train on, {f['validation']['rows']} to validate",
    )


@data.command()
def show(
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    row: Annotated[int, typer.Option(min=0, help="Which training row to show.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Print a training row as the model sees it, token by token: masked (dim) or trained (green)."""
    from ragft.data.show import shown_row

    stages = _stages(config, overrides, as_json)
    values, text = shown_row(stages, row)
    stages.reporter.result(values, text)


@index.command()
def build(
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    rebuild: Annotated[bool, typer.Option(help="Encode everything again, aside, and flip at the end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Index the documents."""
    _refresh(_stages(config, overrides, as_json), rebuild=rebuild)


@index.command()
def refresh(
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option(help="Print the plan and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the index up to date with the documents: only what changed is encoded, and readers are never disturbed."""
    _refresh(_stages(config, overrides, as_json), dry_run=dry_run)


def _refresh(stages: Stages, *, dry_run: bool = False, rebuild: bool = False) -> None:
    report = stages.refresh_index(dry_run=dry_run, rebuild=rebuild)
    plan = report.plan
    counts = {key: len(getattr(plan, key)) for key in ("added", "changed", "removed", "unchanged")}
    counts |= {"chunks_to_embed": plan.chunks_to_embed, "chunks_reused": plan.chunks_reused}
    state = "would be published" if dry_run else "published" if report.published else "is up to date"
    stages.reporter.result(
        {
            "snapshot": report.snapshot_id,
            "published": report.published,
            "skipped": len(report.skipped),
            **counts,
        },
        f"{counts['added']} documents added, {counts['changed']} changed, {counts['removed']} removed, "
        f"{counts['unchanged']} unchanged; {counts['chunks_to_embed']} passages to encode, "
        f"{counts['chunks_reused']} reused; {len(report.skipped)} skipped",
        f"Snapshot {report.snapshot_id} {state} in {stages.index_root}",
    )
    if report.skipped:
        raise typer.Exit(1)


@index.command()
def search(
    query: Annotated[str, typer.Argument(help="What to search for.")],
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    k: Annotated[int | None, typer.Option("-k", min=1, help="Passages to show; default: index.top_k.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the passages that a question would be answered from."""
    from dataclasses import asdict

    stages = _stages(config, overrides, as_json)
    (found,) = stages.retriever().search([query], k)
    shown = [
        f"[{number}] {hit.chunk_id}  fused {hit.score:.4f}, dense {_score(hit.dense_score)}, "
        f"lexical {_score(hit.lexical_score)}\n{hit.passage}\n"
        for number, hit in enumerate(found.hits, start=1)
    ]
    summary = f"{len(found.hits)} passages in {found.milliseconds:.0f} ms from snapshot {found.index_version}"
    stages.reporter.result(
        {"index_version": found.index_version, "hits": [asdict(hit) for hit in found.hits]}, *shown, summary
    )


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


@index.command("list")
def list_(config: ConfigFile = DEFAULT_CONFIG, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """List the snapshots, the live one marked."""
    from dataclasses import asdict

    from index.snapshot import list_snapshots

    stages = _stages(config, overrides, as_json)
    snapshots = list_snapshots(stages.index_root)
    lines = [
        f"{'*' if s.is_current else ' '} {s.id}  {s.created}  {s.documents} documents, {s.chunks} passages"
        for s in snapshots
    ]
    stages.reporter.result({"snapshots": [asdict(s) for s in snapshots]}, *lines or ["There are no snapshots yet."])


@index.command()
def rollback(
    snapshot: Annotated[str | None, typer.Argument(help="Snapshot to go back to; default: the one before.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Make an older snapshot the live one."""
    from index.snapshot import rollback as roll_back

    stages = _stages(config, overrides, as_json)
    live = roll_back(stages.index_root, snapshot)
    stages.reporter.result({"snapshot": live}, f"Snapshot {live} is live in {stages.index_root}")


@index.command()
def verify(config: ConfigFile = DEFAULT_CONFIG, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Read every file of the live snapshot and compare it with its checksum."""
    from index.snapshot import Snapshot

    stages = _stages(config, overrides, as_json)
    snapshot = Snapshot.open(stages.index_root)
    snapshot.verify()
    stages.reporter.result({"snapshot": snapshot.id, "intact": True}, f"Snapshot {snapshot.id} is intact")


@index.command("train-encoder")
def train_encoder_(
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    pairs: Annotated[
        Path | None, typer.Option(help="JSONL of questions with sources or passages; default: data.examples.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Default: index.training.epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Default: index.training.batch_size.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Default: index.training.learning_rate.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train the encoder on the domain and compare it with the present one; replaces nothing."""
    from ragft.encoder_training import figures_table, train_encoder, verdict

    given = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    keys = [f"index.training.{key}={value}" for key, value in given.items() if value is not None]
    stages = _stages(config, [*(overrides or []), *keys], as_json)
    artifact = train_encoder(stages, pairs)
    stages.reporter.result(
        {"folder": str(artifact.folder), "fingerprint": artifact.fingerprint, **artifact.figures},
        figures_table(artifact), verdict(artifact), f"Result: {artifact.folder}",
    )  # fmt: skip
    if not artifact.figures["better"]:
        raise typer.Exit(1)


@app.command()
def finetune(config: ConfigFile = DEFAULT_CONFIG, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Train the adapter; resumes by itself after an interruption."""
    stages = _stages(config, overrides, as_json)
    _show(
        stages, stages.finetune(),
        lambda f: f"Best validation loss {f['best_loss']:.3f} after step {f['best_step']} of {f['steps']}, "
        f"{f['tokens_per_second']:.0f} tokens/s",
    )  # fmt: skip


@app.command()
def merge(
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    adapter: Annotated[Path | None, typer.Option(help="Adapter in PEFT's format that was trained elsewhere.")] = None,
    as_json: AsJson = False,
) -> None:
    """Merge the adapter, prove that the merged and the served model answer like the trained one, and deploy it."""
    stages = _stages(config, overrides, as_json)
    _show(
        stages, stages.merge(adapter),
        lambda f: f"Divergence {f['divergence']:.4f} nats; same prompt ids {f['same_prompt_ids']}/{f['prompts']}; "
        f"in form: live {_share(f['form_live'])}, merged {_share(f['form_merged'])}, served {_share(f['form_served'])}",
    )  # fmt: skip


def _share(value: float | None) -> str:
    return "not scored" if value is None else f"{value:.0%}"


@app.command()
def evaluate(config: ConfigFile = DEFAULT_CONFIG, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Compare the setups on the same questions: records, scores, statistics, report.html."""
    stages = _stages(config, overrides, as_json)
    _show_evaluation(stages, stages.evaluate())


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    setup: Annotated[str, typer.Option(help="prompt-only, rag-only, fine-tuned or hybrid.")] = "hybrid",
    server: Annotated[
        str | None, typer.Option(help="A running `ragft serve` to ask, as in http://127.0.0.1:8000.", metavar="URL")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Answer one question, with its citations: with a model loaded for it, or by a running server."""
    from ragft.ask import ask_once

    stages = _stages(config, overrides, as_json)
    values, lines = ask_once(stages, question, setup, server)
    stages.reporter.result(values, *lines)


@app.command()
def serve(
    config: ConfigFile = DEFAULT_CONFIG,
    overrides: Overrides = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: serve.host.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; default: serve.port.")] = None,
) -> None:
    """Serve the deployed setups: an OpenAI-compatible endpoint, on loopback unless told otherwise."""
    overrides = [*(overrides or [])]
    overrides += [f"serve.host={host}"] if host is not None else []
    overrides += [f"serve.port={port}"] if port is not None else []
    stages = _stages(config, overrides)
    stages.serve()


@app.command()
def run(config: ConfigFile = DEFAULT_CONFIG, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Index, train, merge, evaluate: all in order, skipping what is up to date. Killed at any moment, it goes on."""
    stages = _stages(config, overrides, as_json)
    say = stages.reporter.say
    # Before hours are spent on what could not be measured, or with a model that is none.
    stages.refuse_trained_questions()
    say(f"Base model: {stages.base}")
    report = stages.refresh_index()
    say(f"Index: snapshot {report.snapshot_id}{'' if report.published else ', up to date'}")
    adapter = stages.finetune()
    say(f"Adapter: {adapter.folder}")
    model = stages.merge()
    say(f"Model: {model.folder}")
    _show_evaluation(stages, stages.evaluate())
    if report.skipped:
        raise typer.Exit(1)


def _show(stages: Stages, artifact: Artifact, summary: Callable[[dict[str, Any]], str]) -> None:
    figures = artifact.figures
    stages.reporter.result(
        {"folder": str(artifact.folder), "fingerprint": artifact.fingerprint, **figures},
        summary(figures), f"Result: {artifact.folder}",
    )  # fmt: skip


def _show_evaluation(stages: Stages, artifact: Artifact) -> None:
    from ragft.evaluate.report import comparison_table
    from ragft.evaluate.score import Comparison

    comparison = Comparison.from_json(json.loads((artifact.folder / "comparison.json").read_text(encoding="utf-8")))
    stages.reporter.result(
        {"folder": str(artifact.folder), "fingerprint": artifact.fingerprint, **artifact.figures},
        comparison_table(comparison), f"Report: {artifact.folder / 'report.html'}",
    )  # fmt: skip
