"""The whole application as one typed file: source of defaults, of `--set` keys and of the JSON Schema.

`application` is the file as a whole, with a module for the sections of each part of the work: `index`, `training`,
`use`. `loading` reads it, with what overrides it. A key is declared in its section alone, with its sentence.
"""

from __future__ import annotations

from ragft.config.application import Config, ModelSection, PromptSection, workspace_of
from ragft.config.index import (
    EncoderTrainingSection,
    FieldsSection,
    GateSection,
    IndexSection,
    LimitsSection,
)
from ragft.config.loading import load_config
from ragft.config.section import Section, SetupName, Share
from ragft.config.training import DataSection, FinetuneSection, MergeSection, MixSection
from ragft.config.use import EngineSection, EvaluateSection, ServeSection

__all__ = [
    "Config",
    "DataSection",
    "EncoderTrainingSection",
    "EngineSection",
    "EvaluateSection",
    "FieldsSection",
    "FinetuneSection",
    "GateSection",
    "IndexSection",
    "LimitsSection",
    "MergeSection",
    "MixSection",
    "ModelSection",
    "PromptSection",
    "Section",
    "ServeSection",
    "SetupName",
    "Share",
    "load_config",
    "workspace_of",
]
