"""The whole application as one typed file: source of defaults, of `--set` keys, of the reference and the JSON Schema.

There is one module per section, and `file` for the file as a whole; `loading` reads it with what overrides it. A key is
declared in its section alone, with its sentence.
"""

from __future__ import annotations

from ragft.config.answer import AnswerSection
from ragft.config.data import DataSection, MixSection
from ragft.config.engine import EngineSection
from ragft.config.evaluate import ArmSection, EvaluateSection
from ragft.config.file import Config
from ragft.config.finetune import FinetuneSection, RewardsSection
from ragft.config.index import IndexSection, SearchSection
from ragft.config.loading import load_config
from ragft.config.merge import MergeSection
from ragft.config.prompt import PromptVariant
from ragft.config.section import Section, SetupName

__all__ = [
    "AnswerSection",
    "ArmSection",
    "Config",
    "DataSection",
    "EngineSection",
    "EvaluateSection",
    "FinetuneSection",
    "IndexSection",
    "MergeSection",
    "MixSection",
    "PromptVariant",
    "RewardsSection",
    "SearchSection",
    "Section",
    "SetupName",
    "load_config",
]
