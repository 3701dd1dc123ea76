"""The model card: what a model was made of, what was measured, where its limits are. `README.md` of its folder.

It follows the manifest and is no part of the model's version: a card that is written anew changes no content.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CARD = "README.md"
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


@dataclass(frozen=True)
class Described:
    """What a card tells beside the figures of the proof.

    Attributes:
        base: name of the base model.
        base_license: as the base's own card names it; None: it names none.
        data: what the model was trained on, by name: numbers of rows, or the content's hash.
        recipe: configuration keys of the training with their values.
        evaluation: exact match and format validity by setup, where the model was evaluated.
    """

    name: str
    base: str
    base_license: str | None
    method: str
    data: Mapping[str, Any]
    recipe: Mapping[str, Any]
    evaluation: Mapping[str, Mapping[str, float | None]]


def license_of(base: Path) -> str | None:
    """The licence that the card of a base model names; None where it names none."""
    card = base / CARD
    if card.is_file() and (found := _FRONT_MATTER.match(card.read_text(encoding="utf-8", errors="replace"))):
        try:
            told = yaml.safe_load(found[1])
        except yaml.YAMLError:
            told = None
        if isinstance(told, dict) and isinstance(told.get("license"), str):
            return str(told["license"])
    return None


def model_card(described: Described, figures: Mapping[str, Any]) -> str:
    """The card in Markdown, with the front matter that model hubs read.

    Args:
        figures: of the model's manifest, with the proof.
    """
    front: dict[str, Any] = {
        "library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["ragft", described.method],
    }  # fmt: skip
    if re.fullmatch(r"[\w.-]+/[\w.-]+", described.base):
        front["base_model"] = described.base
    if described.base_license:
        front["license"] = described.base_license
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# {described.name}",
        (
            f"`{described.base}`, fine-tuned for the style and format of answers with "
            f"ragft ({described.method}) and merged. Content version: "
            f"`{figures.get('version', 'unknown')}`."
        ),
        "## Intended use",
        (
            "Answering questions in this domain from passages that a search puts into the prompt. It was trained for "
            "form; facts come from the passages. Render prompts as in training, with the system message below."
        ),
        _quoted(figures.get("trained_with", {}).get("prompt.system")),
        "## Base and licence",
        (
            f"Base: `{described.base}`. Licence of the base: {described.base_license or 'not named by its card'}"
            ". The data of the fine-tuning may restrict the use further; its licence is not known to ragft."
        ),
        "## Data",
        _table(("part", "what"), described.data),
        "## Method and recipe",
        _table(("key", "value"), {"finetune.method": described.method, **described.recipe}),
        "## Proof of the merge",
        "The merged model compared with base and adapter on held-out prompts.",
        _table(("figure", "value"), {key: figures[key] for key in _PROOF if key in figures}),
        "## Evaluation",
        _evaluation(described.evaluation),
        "## Limits",
        _limits(described, figures),
        "## How to load it",
        (
            "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            'tokenizer = AutoTokenizer.from_pretrained("FOLDER")\n'
            'model = AutoModelForCausalLM.from_pretrained("FOLDER", dtype="auto")\n```'
        ),
        "Or `vllm serve FOLDER`. Weights are bfloat16 safetensors; no code of the model's own is needed.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_PROOF = (
    "onto", "chosen", "prompts", "divergence", "divergence_max", "top1_agreement", "same_prompt_ids",
    "format_valid_live", "format_valid_merged", "format_valid_served", "same_answers_served",
)  # fmt: skip


def _evaluation(setups: Mapping[str, Mapping[str, float | None]]) -> str:
    if not setups:
        return "Not evaluated when this card was written."
    rows = [f"| {name} | {_value(of.get('exact_match'))} | {_value(of.get('format_validity'))} |"
            for name, of in setups.items()]  # fmt: skip
    return "\n".join(["| setup | exact match | format validity |", "|---|---|---|", *rows])


def _limits(described: Described, figures: Mapping[str, Any]) -> str:
    lines = [
        "- Without passages in the prompt its facts are those of the base model, and often wrong.",
        (
            f"- Proven on {figures.get('prompts', 0)} held-out prompts of the same kind as the examples; others may go "
            "worse."
        ),
        "- General ability after the fine-tuning is not part of this card.",
    ]
    if not described.evaluation:
        lines.append("- No figures of an evaluation are known.")
    return "\n".join(lines)


def _table(head: tuple[str, str], rows: Mapping[str, Any]) -> str:
    if not rows:
        return "Not known."
    lines = [f"| {name} | {_value(value)} |" for name, value in rows.items()]
    return "\n".join([f"| {head[0]} | {head[1]} |", "|---|---|", *lines])


def _value(value: Any) -> str:
    if value is None:
        return "not scored"
    shown = f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
    return " ".join(str(shown).split()).replace("|", "\\|")


def _quoted(text: str | None) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines()) if text else ""
