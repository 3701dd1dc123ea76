"""The command line: one command per job. Imports nothing heavy until a command runs.

Exit status: 0 done; 1 failed or a gate was not met; 2 wrong use or wrong configuration; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from ragft.cli import (
    compare,
    data,
    drift,
    evaluate,
    feedback,
    index,
    judge,
    keys,
    models,
    serve,
    start,
    train,
    tune,
    use,
)
from ragft.cli.refusals import refusal
from ragft.errors import UsageError

app = typer.Typer(
    name="ragft",
    help="Turns a folder of documents and a file of example answers into a chat endpoint, and shows by a controlled "
    "experiment which of four setups is worth deploying: prompt-only, rag-only, fine-tuned, hybrid.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (
    start.commands,
    train.commands,
    evaluate.commands,
    compare.commands,
    judge.commands,
    use.commands,
    drift.commands,
):
    app.registered_commands += group.registered_commands
app.add_typer(data.commands, name="data")
app.add_typer(index.commands, name="index")
app.add_typer(tune.commands, name="tune")
app.add_typer(serve.commands, name="serve")
app.add_typer(models.commands, name="models")
app.add_typer(keys.commands, name="keys")
app.add_typer(feedback.commands, name="feedback")
app.add_typer(judge.sheets, name="sheets")


def main() -> None:
    """Runs the command line; prints what is refused as one sentence, and a traceback only with `--debug`."""
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    several = "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"
    try:
        if several:
            _in_several_processes()
        app()
    except SystemExit as end:
        if several and end.code in (None, 0):
            from ragft.finetune.processes import end as tell_the_others

            tell_the_others()
        # This is what typer makes of Ctrl-C.
        if end.code == 130:
            sys.stderr.write("\nInterrupted. Nothing is lost: the same command continues from here.\n")
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


def _in_several_processes() -> None:
    """Ends the processes beside the first one that torch's launcher started, after they took part in its training.

    Raises:
        UsageError: the command is one that a single process runs.
    """
    if "finetune" not in sys.argv[1:2]:
        raise UsageError("torch.distributed.run is for `ragft finetune` alone: start other commands without it.")
    if os.environ["RANK"] == "0":
        return
    from ragft.console import prepare_process
    from ragft.finetune.processes import follow

    prepare_process()
    follow()
    sys.exit(0)


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"ragft {version('ragft')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """`--debug` is read by `main`, wherever it stands; here it is only declared for `--help`."""
