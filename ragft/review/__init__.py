"""Review by people who know the domain: rows accepted, edited or rejected, each by its content.

`items.py` says what is reviewed, `decisions.py` keeps what was decided, `board.py` says how matters stand, `sheets.py`
is the same for spreadsheets, and `passages.py` shows where an answer stands. Knows nothing of HTTP.
"""
