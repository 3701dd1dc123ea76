"""People: blind sheets on which they compare the answers of two setups, and what the filled ones say.

`sheets.py` makes them with their sealed key, `page.py` the page; `filled.py` reads what comes back, `summary.py`
counts.
"""
