"""Engines generate text from messages; which one runs is the pipeline's business, how it runs is the engine's."""
