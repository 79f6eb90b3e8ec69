"""What the names of metrics.json mean, in a few words."""

from __future__ import annotations

# What the part of a name after the stage means. The joints are Human3.6M's 17 (the root counts, as 0).
MEANINGS = {
    "mpjpe_mm": ("MPJPE", "mean distance of the 17 joints, root-centred; no alignment but the root (Protocol 1's)"),
    "n_mpjpe_mm": ("N-MPJPE", "MPJPE after the best scale of each prediction (Rhodin et al., CVPR 2018)"),
    "pa_mpjpe_mm": ("PA-MPJPE", "MPJPE after the best rotation, scale and translation, no reflection (Protocol 2's)"),
    "orthogonal_mpjpe_mm": (
        "orthogonal MPJPE",
        "MPJPE after the best orthogonal map about the root, reflections allowed, no scale (P-MPJ-orth of 2019)",
    ),
    "pve_mm": ("PVE", "mean distance of the body's vertices, root-centred; no other alignment"),
    "pa_pve_mm": ("PA-PVE", "PVE after the best rotation, scale and translation"),
    "pve_facing_camera_mm": ("PVE, facing", "PVE of people whose front is within 90 degrees of the camera"),
    "pve_facing_away_mm": ("PVE, away", "PVE of people whose front is turned further away"),
    "heading_error_deg": ("heading", "angle on the ground between the true front of the body and the predicted one"),
    "silhouette_iou": ("IoU", "intersection over union of the drawn body, at the root's true place, and the mask"),
    "auc": ("AUC", "chance that the prior likes a held-out body more than one that is broken in some way"),
    "tpr_at_1_percent_fpr": ("TPR at 1 %", "held-out bodies that pass where 1 % of the broken ones do"),
    "tpr_at_5_percent_fpr": ("TPR at 5 %", "held-out bodies that pass where 5 % of the broken ones do"),
    "log_loss": ("log loss", "of the prior's calibrated chance that a body is real, in nats"),
    "calibration_error": ("calibration error", "expected difference of that chance from the share of real bodies"),
    "v2v_l2_m2": ("v2v l2", "mean squared vertex error over vertices and coordinates, m²"),
    "psnr_foreground_db": ("PSNR, person", "peak signal-to-noise ratio where the target's mask shows the person"),
    "psnr_background_only_db": ("PSNR, background", "the same pixels, showing the target camera's empty background"),
    "psnr_all_db": ("PSNR, image", "peak signal-to-noise ratio of the whole crop"),
    "test_rows": ("frames", "frames of the test split"),
    "test_sequences": ("sequences", "sequences (subject, act, subaction) of the test split, which intervals draw"),
    "test_labelled_rows": ("labelled frames", "frames of the test split on whose true poses joints are measured"),
    "test_excluded_folders": ("folders left out", "folders of the test split that were left out"),
    "test_excluded_frames": ("frames left out", "frames of the test split that were left out"),
    "test_excluded_masks": ("masks left out", "masks of the test split that were left out; their frames stay"),
    "psnr_db": ("PSNR, image", "peak signal-to-noise ratio of the whole crop"),
    "joints_only_pve_mm": ("PVE, joints alone", "PVE of the bodies fitted to joints alone, without masks"),
    "world_pve_mm": ("PVE in the world", "mean distance of fitted vertices where they stand, nothing brought together"),
    "joint_error_mm": ("joint error", "mean distance of the fitted body from the joints that it was fitted to"),
    "mask_iou": ("mask IoU", "intersection over union of the fitted silhouette and the masks that it was fitted to"),
    "kept_share": ("kept", "share of the fitted frames that are explained well enough to be used"),
}  # fmt: skip

# values that are words
WORDS = {
    "encoder_begins_with": "first weights of the encoder",
    "perceptual_network": "network trained on ImageNet by whose features painted images were compared",
}

_PROBE = "of a linear probe, fitted on half of the sequences and tested on the others"
_READ = f"balanced accuracy {_PROBE}: whose frame it is, from"
_POSE = f"N-MPJPE {_PROBE}: the pose, from"
_R2 = "share of the variance of a recoloured person's mean colour (R2) that a linear probe reads from"
_SHIFT = "how far it moves when only {} changes, over how far another instant of the subject and camera is"
_CODES = {"l_3d": "L_3d", "l_app": "L_app"}
_SOURCES = _CODES | {"thumbnail": "a picture of 8 x 8 pixels", "true_pose": "the true pose (bones have lengths)"}
CHANGES = {"colour": "the person's colours", "clothing": "the clothes", "light": "the light"}

MEANINGS |= {f"subject_from_{name}": (f"subject from {text}", f"{_READ} {text}") for name, text in _SOURCES.items()}
MEANINGS |= {"subject_chance": ("chance", "balanced accuracy of guessing whose frame it is")}
MEANINGS |= {
    f"pose_from_{name}_n_mpjpe_mm": (f"pose from {text}", f"{_POSE} {text}")
    for name, text in (_SOURCES | {"mean": "nothing: their mean pose"}).items()
}
MEANINGS |= {f"colour_from_{name}_r2": (f"colour from {text}", f"{_R2} {text}") for name, text in _CODES.items()}
for _change, _text in CHANGES.items():
    MEANINGS |= {
        f"{_change}_{name}_shift": (f"{text} moves", f"{text}: {_SHIFT.format(_text)}") for name, text in _CODES.items()
    }
    MEANINGS |= {
        f"{_change}_pose_moved_mm": ("pose moves", f"mean distance of the poses when only {_text} changes"),
        f"{_change}_n_mpjpe_before_mm": ("N-MPJPE before", f"of the same frames before {_text} changes"),
        f"{_change}_n_mpjpe_change_mm": ("change of N-MPJPE", f"when only {_text} changes"),
    }
