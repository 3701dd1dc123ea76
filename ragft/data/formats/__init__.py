"""Examples in other tools' files: read into rows of ragft, and written as those tools train on them.

`layouts` tells the shapes apart and reads a row of each; `reading` reads the files that they come in; `importing` makes
rows of ragft of them. `schemas` holds what each tool publishes about its files; `targets` writes them; `lost` keeps
what a target has no place for, so that an import gives it back.
"""
