"""A small training loop for LoRA (arXiv 2106.09685) and QLoRA (arXiv 2305.14314) on dense decoder models.

One autograd function per linear layer and per attention, cross-entropy on the trained positions only, and micro-batches
that compute the prefix which their rows share once. `trainer.train` is the entry point.
"""
