"""Adapters: trained, written in PEFT's format, and merged into models that a server can load.

`fast` is our own loop for LoRA and QLoRA on dense decoder models; `merge` turns an adapter into a model
folder and measures how far the two answer differently. Nothing here knows of documents, prompts or
configuration files: rows come in as token ids with the mask of trained positions.
"""
