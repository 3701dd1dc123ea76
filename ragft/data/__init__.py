"""Examples: read, audited, split by group, and mixed with passages of the deployed index.

Knows the index's search and the renderer of prompts; knows nothing of training.
"""
