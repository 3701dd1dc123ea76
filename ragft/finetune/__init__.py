"""Adapters: trained, written in PEFT's format, and merged into models that a server can load.

`fast` is our own loop for LoRA and QLoRA on dense decoder models: it takes rows as token ids with the mask of trained
positions, and knows nothing of documents, questions or servers. `merge` turns an adapter into a model folder, `proof`
decides whether that model answers like the adapter, and `registry` keeps the models and says which one is deployed.
"""
