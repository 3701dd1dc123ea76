"""Documents: how they are found, read, extracted and split into chunks."""
