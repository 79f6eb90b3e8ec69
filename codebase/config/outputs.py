"""Sections on what comes out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from codebase.config.base import Section


class PredictConfig(Section):
    """Predictions on the test split."""

    batch_size: PositiveInt = 128
    examples: int = Field(24, ge=0, description="how many pairs of views are kept as images")
    meshes: int = Field(4, ge=0, description="how many example meshes are written")
    mesh_formats: tuple[Literal["obj", "ply", "glb"], ...] = Field(
        ("obj", "ply", "glb"), min_length=1, description="in which formats each of them is written"
    )


class EvaluateConfig(Section):
    """Metrics on the test split."""

    per_act: bool = Field(True, description="also per act")
    per_subject: bool = Field(True, description="also per subject")
    per_joint: bool = Field(True, description="joint errors also per joint")
    bootstrap: int = Field(
        2000, ge=0, description="draws of whole sequences, for 95 % intervals of the figures; 0: no intervals"
    )
    colour_rows: int = Field(
        600, ge=0, description="frames whose person gets other colours, to see what of the codes moves; 0: none"
    )
    cameras: tuple[int, ...] | None = Field(
        None, description="cameras whose frames are measured for poses and bodies; null: all; novel views: always all"
    )


class ReportConfig(Section):
    """The page."""

    examples: PositiveInt = Field(6, description="frames shown in each gallery")
