"""The PEFT back end: every method of the table that the fast loop does not know, and every model that it cannot train.

It shares the fast loop's run (order, schedule, validation, checkpoint, resumption), and computes with transformers' and
PEFT's own layers on padded rows: slower, and right for any architecture.
"""
