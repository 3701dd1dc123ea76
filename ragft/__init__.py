"""Hybrid RAG + fine-tuning: tuning teaches style and format, retrieval supplies facts, an experiment says what is
worth deploying. Knows documents only through `index`, and nothing of HTTP, which is `serving`'s.
"""
