"""The stages of one application, each from fingerprinted inputs to a published folder.

    documents -> index        examples -> split -> mix -> adapter -> model

A stage calls the stages before it, so that asking for a model makes whatever it is missing, and nothing that is up to
date. So each module here has a class that adds its stages to those of the module before: `parts` (encoder, base model
and the like), `index`, `data`, `training`, and `use`, whose `Stages` has them all. `deployed` knows which model was
made last.
"""

from __future__ import annotations

from ragft.finetune.registry import deploy, deployed_model
from ragft.stages.use import Stages

__all__ = ["Stages", "deploy", "deployed_model"]
