"""The command line: one command per job. Imports nothing heavy until a command runs.

Exit status: 0 done; 1 failed or a gate was not met; 2 wrong use or wrong configuration; 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragft.cli import index as index_commands
from ragft.cli.options import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigFile,
    Overrides,
    SeenWith,
    Where,
    open_stages,
    restrictions,
)
from ragft.cli.refusals import refusal

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
app.add_typer(data, name="data")
app.add_typer(index_commands.index, name="index")


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
        status, sentence = refusal(error)
        if debug or sentence is None:
            raise
        sys.stderr.write(f"ragft: {sentence}\n")
        sys.exit(status)


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"ragft {version('ragft')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """`--debug` is read by `main`, wherever it stands; here it is only declared for `--help`."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the domain and of the folder to make.")],
    as_json: AsJson = False,
) -> None:
    """Scaffold a domain: configuration, documents/, examples.jsonl, questions.jsonl."""
    from ragft.cli.scaffold import scaffold
    from ragft.console import Reporter

    folder = scaffold(Path(name))
    Reporter(as_json).result(
        {"folder": str(folder)}, f"Made {folder}/. Next: put your documents and examples there, then\n"
        f"  cd {folder} && ragft check && ragft run"
    )  # fmt: skip


@app.command()
def check(config: ConfigFile = DEFAULT_CONFIG, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Dry run: configuration, data, hardware, memory and time estimate, five questions through retrieval and prompt."""
    from ragft.stages.check import check_all

    stages = open_stages(config, overrides, as_json)
    findings = check_all(stages)
    stages.reporter.result(findings.to_json(), findings.table(), findings.summary())
    if findings.errors:
        raise typer.Exit(1)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Versions, devices, what is missing and how to get it."""
    from ragft.console import Reporter
    from ragft.stages.check import diagnose

    findings = diagnose()
    Reporter(as_json).result(findings.to_json(), findings.table(), findings.summary())
    if findings.errors:
        raise typer.Exit(1)


@data.command()
def audit(config: ConfigFile = DEFAULT_CONFIG, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Look for what is wrong with the examples and questions: duplicates, overlap, form, sources."""
    from ragft.data.audit import audit_data

    stages = open_stages(config, overrides, as_json)
    findings = audit_data(stages.config)
    stages.reporter.result(findings.to_json(), findings.table(), findings.summary())
    if findings.errors:
        raise typer.Exit(1)


@data.command("split")
def split_(config: ConfigFile = DEFAULT_CONFIG, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Part the examples into training and validation, by group."""
    stages = open_stages(config, overrides, as_json)
    _show(stages, stages.split(), lambda f: f"{f['train']} examples to train on, {f['validation']} to validate")


@data.command()
def mix(config: ConfigFile = DEFAULT_CONFIG, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Mix the examples with passages of the index."""
    stages = open_stages(config, overrides, as_json)
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

    stages = open_stages(config, overrides, as_json)
    values, text = shown_row(stages, row)
    stages.reporter.result(values, text)


@app.command()
def finetune(config: ConfigFile = DEFAULT_CONFIG, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Train the adapter; resumes by itself after an interruption."""
    stages = open_stages(config, overrides, as_json)
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
    stages = open_stages(config, overrides, as_json)
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
    stages = open_stages(config, overrides, as_json)
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
    where: Where = None,
    labels: SeenWith = None,
    as_json: AsJson = False,
) -> None:
    """Answer one question, with its citations: with a model loaded for it, or by a running server."""
    from ragft.cli.ask import ask_once

    stages = open_stages(config, overrides, as_json)
    only, seen_with = restrictions(where, labels)
    if server is not None and labels is not None:
        from ragft.errors import UsageError

        raise UsageError("With --server the API key decides about the labels: leave --labels out.")
    values, lines = ask_once(stages, question, setup, server, filter=only, labels=seen_with)
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
    stages = open_stages(config, overrides)
    stages.serve()


@app.command()
def run(config: ConfigFile = DEFAULT_CONFIG, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Index, train, merge, evaluate: all in order, skipping what is up to date. Killed at any moment, it goes on."""
    from ragft.engine.children import sweep_logs

    stages = open_stages(config, overrides, as_json)
    say = stages.reporter.say
    for path in (*stages.sweep(), *sweep_logs()):
        say(f"Removed {path}: a run that was killed left it behind")
    # Before hours are spent on what could not be measured, or with a model that is none.
    stages.refuse_trained_questions()
    say(f"Base model: {stages.base}")
    report = stages.refresh_or_stop()
    say(f"Index: snapshot {report.snapshot_id}{'' if report.published else ', up to date'}")
    adapter = stages.finetune()
    say(f"Adapter: {adapter.folder}")
    model = stages.merge()
    say(f"Model: {model.folder}")
    _show_evaluation(stages, stages.evaluate())
    if report.skipped or report.kept:
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
