"""How setups without tuning are asked: as `prompt.untuned` says, or with the best of `evaluate.prompts`.

A tuned model is asked as it was trained, always.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

from ragft.artifacts import Artifact
from ragft.config import PromptVariant
from ragft.console import counted
from ragft.evaluate.metrics import METRICS
from ragft.evaluate.prompt_choice import PromptChoice, measured, told
from ragft.evaluate.records import read_answers
from ragft.setups import SETUPS, Arm, Setup
from ragft.stages.application import Application
from ragft.stages.arms import shots
from ragft.stages.chosen_metrics import metrics_of, rules_of


def served(app: Application, name: str) -> Setup:
    """A setup as `ragft serve` and `ragft ask` ask it; says so where an evaluation may have chosen otherwise."""
    setup, config = SETUPS[name], app.config
    if not setup.tuned and config.evaluate.prompts and name not in config.prompt.untuned:
        app.reporter.say(
            f"{name} is asked with the prompt {PromptVariant().title}, whichever of evaluate.prompts was best: set "
            "prompt.untuned to the one that the report names."
        )
    return configured(app, setup)[0]


def configured(app: Application, setup: Setup) -> tuple[Setup, PromptChoice | None]:
    """A setup with the prompt that `prompt.untuned` names for it, if it does."""
    for name, variant in app.config.prompt.untuned.items():
        if name == setup.name:
            found = asked_with(app, setup, variant, f"prompt.untuned.{name}.shots")
            return found, PromptChoice(variant.title, variant.prompt, variant.shots)
    return setup, None


def tried(app: Application, setup: Setup) -> list[PromptVariant]:
    """The prompts that a setup is tried with: none if it is tuned or an arm."""
    if setup.tuned or isinstance(setup, Arm):
        return []
    declared = app.config.evaluate.prompts
    if not setup.retrieval:  # without passages there is no order of passages and question
        declared = tuple(
            one.model_copy(update={"prompt": "passages-first"}) if one.prompt == "question-first" else one
            for one in declared
        )
    return list(dict.fromkeys(declared))


def asked_with(app: Application, setup: Setup, variant: PromptVariant, key: str = "shots in evaluate.prompts") -> Setup:
    """A setup that is asked with this prompt.

    Args:
        key: that names it, for messages.
    """
    shown = shots(app, variant.shots, passages=setup.retrieval, key=key)
    return replace(setup, arrangement=variant.prompt, shots=shown)


def best_prompt(
    app: Application, setup: Setup, trials: Mapping[PromptVariant, Artifact]
) -> tuple[PromptVariant, PromptChoice]:
    """The best of the prompts that a setup was tried with, which is said.

    Args:
        trials: records of the held-out questions.
    """
    return app.once(f"prompt of {setup.name}", lambda: _best_prompt(app, setup, trials))


def _best_prompt(
    app: Application, setup: Setup, trials: Mapping[PromptVariant, Artifact]
) -> tuple[PromptVariant, PromptChoice]:
    config = app.config
    answers = {variant.title: read_answers(made.folder) for variant, made in trials.items()}
    decides = config.evaluate.decides
    with metrics_of(app):
        best, clusters, figures = measured(
            app.held_out,
            answers,
            rules_of(app),
            decides=decides,
            seed=config.seed,
            max_failed=config.evaluate.max_failed,
        )
        measure = METRICS[decides]
    for title, figure in figures.items():
        if figure["dropped"]:
            app.reporter.say(
                f"With {title}, {counted(figure['dropped'], 'prompt')} of {setup.name} lost passages that would not "
                f"have fitted engine.max_model_len = {config.engine.max_model_len}."
            )
    chosen = next(variant for variant in trials if variant.title == best)
    found = PromptChoice(best, chosen.prompt, chosen.shots, len(app.held_out), clusters, figures)
    app.reporter.say(told(setup.name, asdict(found), measure))
    return chosen, found
