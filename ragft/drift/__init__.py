"""Drift: whether what is asked now, and how it is answered, still is what was evaluated and what was asked before.

Knows no HTTP, no index and no database: `ragft.stages.drift` gathers the samples.

- `sample`: what is known of a group of questions.
- `permutation`: tests that assume nothing but that questions of two groups could be exchanged.
- `comparison`: two groups compared, and what counts as moved.
- `beginning`: the questions that lie far from others, one of each kind.
- `words`: a table, JSON, and what to do, by declared rules.
"""
