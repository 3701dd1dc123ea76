"""Questions and answers made from the passages of an index: from their structure, or by a model, and then verified."""
