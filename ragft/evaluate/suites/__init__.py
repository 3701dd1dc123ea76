"""Suites: questions that are varied in one way, each with what it claims."""
