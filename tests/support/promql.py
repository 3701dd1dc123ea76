"""What the dashboard and the alert rules in deploy/ ask Prometheus for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"

_STRING = re.compile(r'"[^"]*"')
_SELECTOR = re.compile(r"\{[^}]*\}")
_RANGE = re.compile(r"\[[^\]]*\]")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?!\s*\()\b(?!\s*\()")
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan"})
_MATCHER = re.compile(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')


def expressions() -> dict[str, str]:
    """Every expression of deploy/, by where it stands."""
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))
    found = {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}
    for panel in json.loads((DEPLOY / "grafana.json").read_text(encoding="utf-8"))["panels"]:
        found |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel.get("targets", ())}
    return found


def series(expression: str) -> set[str]:
    """The names of the series that an expression of PromQL reads."""
    # Ranges last: a pattern in a selector may hold brackets, and strings anything.
    for pattern in (_STRING, _SELECTOR, _RANGE, _GROUPING):
        expression = pattern.sub(" ", expression)
    return set(_NAME.findall(expression)) - _WORDS


def matchers(expression: str) -> set[tuple[str, str]]:
    """The labels that an expression compares, each with one of the values that it names."""
    return {(label, value) for label, text in _MATCHER.findall(expression) for value in text.split("|")}


def told(page: str) -> set[str]:
    """The names of all series that a page of metrics can have, those without a value yet included."""
    found = set()
    for family in text_string_to_metric_families(page):
        found.add(family.name)
        found |= {sample.name for sample in family.samples}
        if family.type == "counter":
            found.add(f"{family.name}_total")
        if family.type == "histogram":
            found |= {f"{family.name}_{part}" for part in ("bucket", "count", "sum")}
    return found


def value(page: str, name: str, **labels: str) -> float:
    """The sum of the samples on a page of metrics of this name, with these labels among theirs."""
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    return float(sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items()))
