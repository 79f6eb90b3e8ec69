"""Procedural motion: people doing the acts of Human3.6M, as SMPL pose parameters."""

from codebase.synthetic.motion.acts import ACT_NAMES, Clip, make_clip, sample_poses

__all__ = ["ACT_NAMES", "Clip", "make_clip", "sample_poses"]
