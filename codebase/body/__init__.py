"""The body: SMPL layout arrays, the layer on top of smplx, joints without vertices."""
