"""The stages: from fingerprinted inputs to a published folder, each a function of the `Application`.

    documents -> index        examples -> split -> mix -> adapter -> model -> records -> evaluation

A stage calls the stages before it, so that asking for a model makes whatever is missing for it, and nothing that is up
to date. `inputs` says what decides the output of each.
"""
