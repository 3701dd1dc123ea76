"""Judges: language models that rate answers by a rubric, and what makes their ratings honest.

`rubric.py` says what a judge is asked and reads its replies, `plan.py` which questions that takes, `endpoint.py` speaks
to it, `calls.py` asks each thing once; `summary.py` turns replies into rates with intervals, `length.py` and
`calibration.py` correct them for the length of answers and by the labels of people.
"""
