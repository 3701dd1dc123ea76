"""Adapters: trained, written in PEFT's format, and merged into models that a server can load.

`fast` is our own loop for LoRA and QLoRA on dense decoder models: rows come in as token ids with the mask of trained
positions, and it knows nothing of documents, questions or servers. `merge` turns an adapter into a model folder and
measures how far the two answer differently; `proof` decides by that, and by the served model's answers.
"""
