"""The page: what a run made, how well, and how it is known."""
