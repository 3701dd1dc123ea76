"""The controlled comparison of the four setups: records are written once and can be scored again at any time."""
