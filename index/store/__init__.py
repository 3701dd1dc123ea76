"""How an index lies on disk: segments, snapshots, and what is done with them."""
