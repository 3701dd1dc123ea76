"""`model`: the language model."""

from __future__ import annotations

from pydantic import Field

from ragft.config.section import ModelName, Section


class ModelSection(Section):
    """The language model that is tuned and served."""

    base: ModelName = Field("smollm2-135m-instruct", description="Hub id, local folder, or name of a packaged model.")
