"""`ragft keys`: the API keys of the endpoint, in the file that `serve.keys` names."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragft.cli.options import command

if TYPE_CHECKING:
    from ragft.keys import Caller
    from ragft.stages.application import Application

commands = typer.Typer(
    help="The API keys of the endpoint: make, list, revoke. A running server takes changes within a second or two.",
    no_args_is_help=True,
)


@command(commands)
def new(
    app: Application,
    scopes: Annotated[
        str, typer.Option(help="What it may call: chat, retrieve, metrics, admin.", metavar="SCOPE[,SCOPE]")
    ] = "chat",
    domain: Annotated[
        list[str] | None,
        typer.Option(help="Domain of the server that it opens. Repeatable; default: all.", metavar="NAME"),
    ] = None,
    labels: Annotated[
        str,
        typer.Option(help="Access labels of documents that it opens; *: all. Default: none.", metavar="LABEL[,LABEL]"),
    ] = "",
    name: Annotated[str, typer.Option(help="What people call it; stands in lists and in the audit log.")] = "",
    expires: Annotated[
        str | None, typer.Option(help="When it ends: 2027-01-31, a time with its zone, or days from now as in 90d.")
    ] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="Requests a minute; default: any number.")] = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens of prompts and answers a minute; default: any number.")
    ] = None,
) -> None:
    """Make a key, add it to the file of keys, and print it: the only time, because the file holds its digest alone."""
    from index.store.filters import FilterError, parse_labels
    from ragft.errors import UsageError
    from ragft.keys import Caller, add_key, moment, new_key

    file = _file(app)
    try:
        opened = parse_labels(labels)
    except FilterError as error:
        raise UsageError(str(error)) from None
    ends = moment(expires, time.time()) if expires is not None else None
    if ends is not None and ends <= time.time():
        raise UsageError(f"--expires {expires} is over already.")
    key = new_key()
    domains = frozenset(domain) if domain else None
    asked = Caller(frozenset(map(str.strip, scopes.split(","))), opened, "", name, ends, requests, tokens, domains)
    made = add_key(file, key, asked)
    app.reporter.result({"key": key, **_values(made)}, key)
    app.reporter.say(f"{_line(made)}\nAdded to {file}. Keep the key: it is stored nowhere.")


@command(commands, "list")
def list_(app: Application) -> None:
    """List the keys by their ids. Ends with status 1 if a line of the file is not understood and so grants nothing."""
    from ragft.keys import parse_keys, read_keys

    file = _file(app)
    granted = parse_keys(read_keys(file), file)
    callers = list(granted.callers.values())
    lines = [_line(caller) for caller in callers] or [f"{file} grants no key; `ragft keys new` makes one."]
    app.reporter.result({"keys": [_values(caller) for caller in callers], "faults": granted.faults}, *lines)
    for fault in granted.faults:
        app.reporter.say(fault)
    if granted.faults:
        raise typer.Exit(1)


@command(commands)
def revoke(
    app: Application,
    key: Annotated[str, typer.Argument(help="Its id or the beginning of it, its name, or the key itself.")],
) -> None:
    """Remove a key from the file of keys: it is refused from then on."""
    from ragft.keys import revoke_key

    file = _file(app)
    _, revoked = revoke_key(file, key)
    app.reporter.result({"revoked": revoked.id, "name": revoked.name}, f"Revoked: {_line(revoked)}")


def _file(app: Application) -> Path:
    from ragft.errors import UsageError

    if app.config.serve.keys is None:
        raise UsageError("serve.keys names no file: set it in the configuration, as in `keys: keys.txt` below `serve`.")
    return app.config.serve.keys


def _values(caller: Caller) -> dict[str, Any]:
    from ragft.keys import shown_moment

    return {
        "id": caller.id,
        "name": caller.name,
        "scopes": sorted(caller.scopes),
        "domains": sorted(caller.domains) if caller.domains is not None else None,
        "labels": sorted(caller.labels) if caller.labels is not None else None,
        "expires": shown_moment(caller.expires) if caller.expires is not None else None,
        "expired": caller.has_expired(time.time()),
        "requests": caller.requests,
        "tokens": caller.tokens,
    }


def _line(caller: Caller) -> str:
    expired = "  (expired)" if caller.has_expired(time.time()) else ""
    return "  ".join([caller.id, ",".join(sorted(caller.scopes)), *caller.fields()]) + expired
