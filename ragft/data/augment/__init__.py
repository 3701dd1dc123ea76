"""Further examples made of those that there are: the question is asked in other words or with slips, the rest stays.

`wording` holds the kinds and what must not change; `synonyms` reads wordnets; `model` asks a language model.
"""
