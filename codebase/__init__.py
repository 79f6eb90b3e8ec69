"""PoseMill: multi-view 3D human pose and shape from few labels, as one DAG."""

__version__ = "0.1.0"
