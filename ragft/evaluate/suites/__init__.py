"""Suites: experiments beside the comparison of the setups, each with its questions and what it claims."""
