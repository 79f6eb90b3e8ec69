"""SMPL parameters that explain joints and masks: a closed-form start, then Gauss-Newton steps."""
