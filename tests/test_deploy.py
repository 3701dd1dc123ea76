"""What deploy/ holds fits the program: metrics and labels that there are, a unit that systemd reads, real commands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml
from litestar.testing import TestClient
from prometheus_client.parser import text_string_to_metric_families
from support.promql import DEPLOY, expressions, matchers, series, told
from support.serving import Fakes, make_application, until

from ragft.cli import app
from ragft.config import load_config
from ragft.config.section import SetupName
from serving.app import create_app
from serving.security import Keys

ROOT = DEPLOY.parent
EXPRESSIONS = expressions()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The metrics of an application that has answered a question."""
    application = make_application(tmp_path_factory.mktemp("deploy"))
    with TestClient(create_app(application, load=Fakes().load, keys=Keys({})), base_url="http://localhost") as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        body = {"model": "hybrid", "messages": [{"role": "user", "content": "What does a ticket cost?"}]}
        client.post("/v1/chat/completions", json={**body, "stream": True})
        return client.get("/metrics").text


def test_an_expression_is_read_as_prometheus_reads_it() -> None:
    text = 'sum by (a) (rate(x_total{b=~"c|d[1]",e="f"}[5m])) > 0.5 * y:z{f="by (q)"} unless on (k) time() - w_info'
    assert series(text) == {"x_total", "y:z", "w_info"}
    assert {("b", "c"), ("e", "f")} <= matchers(text)


@pytest.mark.medium
@pytest.mark.parametrize("where", EXPRESSIONS)
def test_the_dashboard_and_the_alerts_ask_for_metrics_that_there_are(page: str, where: str) -> None:
    names = series(EXPRESSIONS[where])
    # `up` is Prometheus's own; what vLLM tells is compared where vLLM runs.
    ours = {name for name in names if not name.startswith("vllm:")} - {"up"}
    assert names and ours - told(page) == set()
    for opening, closing in ("()", "{}", "[]"):
        assert EXPRESSIONS[where].count(opening) == EXPRESSIONS[where].count(closing)


def test_labels_are_compared_with_values_that_there_are(page: str) -> None:
    families = text_string_to_metric_families(page)
    there = {label for family in families for sample in family.samples for label in sample.labels.items()}
    there |= {("setup", name) for name in (*get_args(SetupName), "none")} | {("job", "$job"), ("job", "ragft")}
    asked = {pair for text in EXPRESSIONS.values() for pair in matchers(text)}
    assert asked - there - {("instance", "$instance"), ("route", "/v1/.*")} == set()


def test_every_alert_has_a_sentence_and_a_row_in_the_page_on_operating() -> None:
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    operate = (ROOT / "docs" / "how-to" / "operate.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(Ragft\w+)` \|", operate, re.MULTILINE)
    assert rows == [rule["alert"] for rule in rules]
    for rule in rules:
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert re.fullmatch(r"\d+[mh]", rule.get("for", "1m"))


def test_panels_do_not_overlap_and_each_asks_for_something() -> None:
    board = json.loads((DEPLOY / "grafana.json").read_text(encoding="utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["targets"], panel["title"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def _arguments_are_taken(words: list[str]) -> None:
    found: Any = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    # Where the group's usual command is meant, it is not named.
    found = found.commands[found.default] if hasattr(found, "commands") else found
    context = found.make_context(words[0], words[1:])
    load_config(ROOT / "configs" / "lifecycle.yaml", context.params["overrides"])


def test_systemd_reads_the_unit_and_ragft_takes_its_command(tmp_path: Path) -> None:
    text = (DEPLOY / "ragft@.service").read_text(encoding="utf-8")
    (command,) = re.findall(r"^ExecStart=/opt/ragft/\.venv/bin/ragft (.*)$", text, re.MULTILINE)
    _arguments_are_taken(command.split())
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    drain = load_config(ROOT / "configs" / "lifecycle.yaml", []).serve.drain_seconds
    assert int(stop) >= drain + 30
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not here")
    unit = tmp_path / "ragft@handbook.service"
    unit.write_text(text.replace("/opt/ragft/.venv/bin/ragft", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_container_is_set_up_by_the_commands_of_the_readme() -> None:
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    said = {name: [rest for step, rest in steps if step == name] for name, _ in steps}
    # As `make demo` does first, and as CONTRIBUTING.md says for a card.
    assert "make setup GPU=$GPU" in said["RUN"] and said["ARG"] == ["GPU="]
    assert "make setup GPU=1" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (packages,) = [step for step in said["RUN"] if "apt-get" in step]
    assert {"gcc", "make"} <= set(packages.split())
    assert re.search(r"python:3\.1[12]-", said["FROM"][0])
    assert said["ENTRYPOINT"] == ['["ragft"]']
    _arguments_are_taken(json.loads(said["CMD"][0]))
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    needed = ("Makefile", "requirements", "pyproject.toml", "README.md", "LICENSE", "index", "ragft", "serving")
    assert not set(needed) & set(ignored)
