"""Hybrid RAG + fine-tuning: tuning teaches style and format, retrieval supplies facts, an experiment says what is
worth deploying. Knows documents only through `index`, and nothing of HTTP, which is `serving`'s.
"""

import sys

if "--multiprocessing-fork" in sys.orig_argv:
    # A process that the program spawned, which imports the program's main module before all else.
    from ragft.engine.children import watch_owner

    watch_owner()
