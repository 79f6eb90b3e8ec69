"""Rasteriser, silhouettes, overlays."""
