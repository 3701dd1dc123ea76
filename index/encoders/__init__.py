"""Encoders: how texts become vectors, and how passages are scored for a question."""
