"""What holds for every test: the environment that commands run in, and no deadline on examples of a busy machine."""

from __future__ import annotations

from hypothesis import settings

from ragft.console import prepare_process

prepare_process()
settings.register_profile("ragft", deadline=None)
settings.load_profile("ragft")
