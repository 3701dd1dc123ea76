"""Searching a snapshot."""
