"""The commands in README.md and docs/ exist, with their options, keys and files; the cheap ones are run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
import yaml
from support.commands import Ended

from ragft.cli import app
from ragft.cli.scaffold import scaffold
from ragft.config import Config, load_config
from ragft.config.loading import leaves

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^ *```(console|sh|bash|shell)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?!https?:|mailto:|#)([^)#\s]+)")
ANCHOR = re.compile(r"(?<!!)\[[^\]]*\]\((?!https?:|mailto:)([^)#\s]*)#([^)\s]+)\)")
MENTION = re.compile(r"`ragft ([a-z][^`]*)`|bin/ragft ([a-z][^\n>]*)")
SETTINGS = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
KEY = re.compile(rf"`((?:{'|'.join(Config.model_fields)})\.[a-z_0-9.]*[a-z0-9])(?:[:=][^`]*)?`")
PICTURE = re.compile(r"!\[[^\]]*\]\((?!https?:|data:)([^)#\s]+)|<img [^>]*src=\"(?!https?:|data:)([^\"]+)")


@dataclass(frozen=True)
class Command:
    """A command as a page tells its reader to type it.

    Attributes:
        words: without assignments before them; `ragft` first, however it was called.
        variables: environment variables that are assigned before it.
    """

    page: Path
    line: int
    words: tuple[str, ...]
    variables: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line} {' '.join(self.words)[:60]}"


def commands() -> Iterator[Command]:
    """Every command in a block of shell commands."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in FENCE.finditer(text):
            start = text.count("\n", 0, block.start(2)) + 1
            lines = block[2].splitlines()
            for number, line in enumerate(lines):
                continued = number > 0 and lines[number - 1].endswith("\\")
                typed = line.strip().startswith("$ ") if block[1] == "console" else not continued
                if typed:
                    whole = _with_continuation(lines[number:]).removeprefix("$ ")
                    yield from _parsed(page, start + number, whole)


def _with_continuation(lines: list[str]) -> str:
    """The first of the lines, and what a backslash at its end joins to it."""
    joined = lines[0].strip()
    for line in lines[1:]:
        if not joined.endswith("\\"):
            break
        joined = joined[:-1] + line.strip().removeprefix("> ")
    return joined


def _parsed(page: Path, number: int, line: str) -> Iterator[Command]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;><")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word in ("|", "||", "&", "&&", ";"):
            if words:
                yield _command(page, number, words)
            words = []
        else:
            words.append(word)


def _command(page: Path, number: int, words: list[str]) -> Command:
    # What is redirected is not an argument.
    for place, word in enumerate(words):
        if word and set(word) <= {">", "<", "&"}:
            words = words[:place]
            break
    assigned = 0
    while assigned < len(words) and re.match(r"[A-Z_][A-Z0-9_]*=", words[assigned]):
        assigned += 1
    variables, words = words[:assigned], words[assigned:]
    if words[1:3] == ["-m", "ragft"] and "python" in words[0]:
        words = words[2:]
    if words and Path(words[0]).name == "ragft":
        words[0] = "ragft"
    return Command(page, number, tuple(words), tuple(variable.partition("=")[0] for variable in variables))


COMMANDS = list(commands())
RAGFT = [command for command in COMMANDS if command.words[:1] == ("ragft",)]
MAKE = [command for command in COMMANDS if command.words[:1] == ("make",)]


def _cheap(command: Command) -> bool:
    words = command.words[1:]
    alone, grouped = (("new",), ("doctor",), ("config",)), (("data", "audit"), ("models", "list"))
    return "--help" in words or "-h" in words or words[:1] in alone or words[:2] in grouped


def test_pages_show_their_commands_in_blocks() -> None:
    """If this fails, the tests below have nothing to look at."""
    assert ROOT / "README.md" in PAGES
    shown = {command.words[1] for command in RAGFT if len(command.words) > 1}
    assert {"new", "run", "ask", "serve"} <= shown
    assert {word for command in MAKE for word in command.words[1:]} >= {"demo", "test"}


def _found(words: list[str]) -> tuple[str, typer.core.TyperCommand]:
    """The command that the first of the words name, with its path; takes these words away."""
    path, found = "ragft", typer.main.get_command(app)
    while words and words[0] in getattr(found, "commands", {}):
        path, found = f"{path} {words[0]}", found.commands[words.pop(0)]  # type: ignore[attr-defined]
    if hasattr(found, "default"):
        return path, found.commands[found.default]  # type: ignore[attr-defined]
    return path, found  # type: ignore[return-value]


@pytest.mark.medium
@pytest.mark.parametrize("command", RAGFT, ids=str)
def test_ragft_takes_the_command_with_these_options(command: Command) -> None:
    words = [word for word in command.words[1:] if word not in ("--debug", "--help", "-h")]
    path, found = _found(words)
    if hasattr(found, "commands"):
        assert not words, f"{path} has no command {words[0]!r}"
        return
    if "--help" in command.words or "-h" in command.words:
        assert not words
        return
    # Parses as a call would, and ends before it: an unknown option or a missing argument is an error.
    context = found.make_context(path, list(words))
    for override in context.params.get("overrides") or ():
        load_config(ROOT / "configs" / "lifecycle.yaml", [override])


@pytest.mark.medium
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_a_sentence_or_a_unit_file_names_exist_with_their_options(page: Path) -> None:
    """They may lack arguments, and hold placeholders."""
    for mention in MENTION.finditer(page.read_text(encoding="utf-8")):
        words = shlex.split(mention[1] or mention[2])
        path, found = _found(words)
        assert not hasattr(found, "commands") or not words, f"{path} has no command {words[0]!r}"
        options = {name for option in found.params for name in (*option.opts, *option.secondary_opts)}
        unknown = {word for word in words if word.startswith("-")} - options - {"--debug", "--help"}
        assert not unknown, f"{path} has no {unknown}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_that_a_page_shows_are_taken(page: Path) -> None:
    for block in SETTINGS.findall(page.read_text(encoding="utf-8")):
        values = yaml.safe_load(block)
        # One with a title is a document's side file, one with jobs a workflow of CI.
        if not {"title", "jobs"} & set(values):
            Config.model_validate({"name": "page", **values})


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_keys_that_a_sentence_names_exist(page: Path) -> None:
    """The changelog also names keys as they were."""
    keys = {".".join(path) for path, _ in leaves()}
    sections = {key[:end] for key in keys for end in range(len(key)) if key[end] == "."}
    named = set(KEY.findall(page.read_text(encoding="utf-8")))
    assert named - keys - sections == set()


def test_variables_of_the_configuration_name_keys() -> None:
    for command in COMMANDS:
        for variable in command.variables:
            section = Config
            for key in variable.lower().split("__")[1:]:
                assert key in section.model_fields, f"{command}: {variable}"
                section = section.model_fields[key].annotation  # type: ignore[assignment]


@pytest.mark.parametrize("command", MAKE, ids=str)
def test_make_has_these_targets_and_variables(command: Command) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    script = (ROOT / "requirements" / "install.sh").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    for word in command.words[1:]:
        name, is_variable, _ = word.partition("=")
        if is_variable:
            assert re.search(rf"\b{name}\b", makefile + script), f"nothing reads {name}"
        else:
            assert name in phony.split()
    for variable in command.variables:
        assert re.search(rf"\b{variable}\b", makefile + script) or variable.startswith("RAGFT"), variable


@pytest.mark.medium
@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_files_of_the_checkout_that_a_command_names_exist(command: Command) -> None:
    ours = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    ours -= {"workspace", "build", "dist"}
    for word in command.words:
        for path in [word, word.partition("=")[2]]:
            if "/" in path and path.partition("/")[0] in ours and "*" not in path:
                assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_lead_to_files(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [*LINK.findall(text), *(first or second for first, second in PICTURE.findall(text))]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_headings(page: Path) -> None:
    for target, anchor in ANCHOR.findall(page.read_text(encoding="utf-8")):
        text = (page.parent / target if target else page).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
        # As GitHub names them.
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in anchors, f"{target}#{anchor}"


@pytest.mark.medium
@pytest.mark.parametrize("words", sorted({command.words for command in RAGFT if _cheap(command)}), ids=" ".join)
def test_cheap_command_works_as_shown(
    words: tuple[str, ...], ragft: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the checkout where it names a file of it; else in a new folder, or in a new domain."""
    folder = tmp_path
    if any((ROOT / word).is_file() for word in words):
        folder = ROOT
    elif words[1] in ("data", "config", "models"):
        folder = scaffold(tmp_path / "handbook")
    monkeypatch.chdir(folder)
    ended = ragft(*words[1:])
    assert ended.status == 0
    assert ended.out
