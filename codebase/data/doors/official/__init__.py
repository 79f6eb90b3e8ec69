"""Door "official": Human3.6M as its portal gives it, archives or extracted tree, with metadata.xml.

Videos give the frames, D3_Positions the poses (or D3_Positions_mono, turned into the world), w0 of metadata.xml the
cameras, MySegmentsMat the masks. Frame i of the tree is the i-th frame of the video and row i of the poses.
"""

from codebase.data.doors.official.door import extract

__all__ = ["extract"]
