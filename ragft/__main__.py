"""`python -m ragft` is `ragft`."""

from ragft.cli import main

if __name__ == "__main__":
    main()
