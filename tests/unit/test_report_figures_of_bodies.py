"""What the page says of priors, shares of gradients and facing directions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from codebase.report import sections, tables
from codebase.report.charts import roc_chart
from codebase.report.material import Training

RATES = np.array([[0.0, 0.01, 0.05, 1.0], [0.0, 0.4, 0.8, 1.0], [0.0, 0.1, 0.2, 1.0]], np.float32)


def test_errors_by_facing_stand_in_a_table_of_their_own() -> None:
    metrics = {"smpl/pve_mm": 100.0, "smpl/pve_facing_away_mm": 110.0, "smpl/pve_mm/facing_000": 90.0,
               "smpl/pve_mm/facing_180": 130.0, "hmr/pve_mm/facing_180": 70.0,
               "smpl/mean_body_pve_mm/facing_180": 300.0}  # fmt: skip
    table = tables.by_facing(metrics)
    assert table is not None
    assert table.rows == (("0°, to the camera", "90.0", "", ""), ("180°, away", "130.0", "70.0", "300.0"))
    assert tables.by_facing({"smpl/pve_mm": 1.0}) is None
    assert [row[0] for row in tables.overall(metrics).rows] == ["smpl/pve_mm", "smpl/pve_facing_away_mm"]


def test_every_new_metric_has_a_meaning() -> None:
    for key in ("smpl/pve_facing_camera_mm", "hmr/pve_facing_away_mm", "smpl/silhouette_iou", "hmr/heading_error_deg",
                "smpl/mean_body_silhouette_iou", "prior/auc", "prior/tpr_at_1_percent_fpr", "prior/log_loss",
                "prior/tpr_at_5_percent_fpr", "prior/calibration_error"):  # fmt: skip
        assert tables.meaning(key), key
    for name in ("pve_mm", "joints_only_pve_mm", "world_pve_mm", "joint_error_mm", "mask_iou", "kept_share"):
        assert tables.meaning(f"fit_bodies/{name}"), name
    assert tables.meaning("against_fitted/smpl/pve_mm").startswith("against fitted bodies, not true ones: mean")
    assert not tables.meaning("against_fitted/smpl/unheard_of")


def test_prior_shows_its_roc_and_each_way_of_breaking() -> None:
    last = {
        "step": 9.0,
        "prior": 0.5,
        "val/auc": 0.9,
        "val/tpr_at_1_percent_fpr": 0.4,
        "val/tpr_at_5_percent_fpr": 0.8,
        "val/auc/halves": 0.7,
        "val/tpr_at_1_percent_fpr/halves": 0.1,
        "val/tpr_at_5_percent_fpr/halves": 0.2,
    }
    curves = sections.curves(Training("prior", Path("model_9.pt"), 9, [last], RATES))
    (table,) = curves.tables
    assert table.rows == (("halves", "0.700", "10 %", "20 %"), ("all", "0.900", "40 %", "80 %"))
    captions = [caption for caption, _ in curves.charts]
    assert captions[-1].startswith("ROC")
    assert not any("tpr" in caption or "halves" in caption for caption in captions)
    drawn = roc_chart(RATES)
    assert drawn.count("<polyline") == 2
    assert "40 % at 1 %, 80 % at 5 %" in drawn
    untrained = sections.curves(Training("prior", Path("model_9.pt"), 9, [last], None))
    assert not any(caption.startswith("ROC") for caption, _ in untrained.charts)


def test_shares_of_the_gradient_are_a_table_over_steps() -> None:
    history = [
        {"step": float(step), "joints": 1.0, "gradient_norm": 9.0, "gradient_share/joints": 1 - step / 100}
        | ({"gradient_share/silhouettes": step / 100} if step > 20 else {})
        for step in range(10, 61, 10)
    ]
    curves = sections.curves(Training("smpl", Path("model_60.pt"), 60, history))
    (table,) = curves.tables
    assert table.headers == ("loss", "step 10", "step 20", "step 30", "step 50", "step 60")
    assert table.rows[0] == ("joints", "90.0 %", "80.0 %", "70.0 %", "50.0 %", "40.0 %")
    assert table.rows[1] == ("silhouettes", "", "", "30.0 %", "50.0 %", "60.0 %")
    assert [caption.split(" ")[0] for caption, _ in curves.charts] == ["joints"]
