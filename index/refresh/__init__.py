"""Keeping an index up to date with its documents."""
