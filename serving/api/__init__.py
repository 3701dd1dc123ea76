"""The routes of the endpoint, one module per group."""
