"""Experiments in traffic: what became of the requests of each arm, and what that tells of the arms. Knows no HTTP."""
