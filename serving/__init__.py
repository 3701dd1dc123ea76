"""The endpoint: a Litestar application in front of engines and an index."""
