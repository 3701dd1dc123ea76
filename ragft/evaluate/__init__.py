"""The controlled comparison of the four setups: records are written once, scoring is repeatable."""
