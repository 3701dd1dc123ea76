"""`python -m ragft` is `ragft`."""

from ragft.cli import main

# Processes that Python spawns import the main module first, but a package's `__main__` only if it is known by its path.
# Those of an engine watch their owner from that import on: see `ragft.engine.children`.
__spec__ = None

if __name__ == "__main__":
    main()
