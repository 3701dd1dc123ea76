"""What an answer says, for those who are no metrics: its value, and whether it is a refusal."""

from ragft.evaluate.metrics.reading import plain, value_of
from ragft.evaluate.metrics.refusals import golds_of, is_refusal, outcome_of, refusal_of

__all__ = ["golds_of", "is_refusal", "outcome_of", "plain", "refusal_of", "value_of"]
