"""report.html: one file that needs no network, a pure function of the run's artefacts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from codebase.body.arrays import load_body
from codebase.paths import Paths
from codebase.report import dag, galleries, looks, sections, tables
from codebase.report.headline import cards
from codebase.report.label_section import label_section
from codebase.report.material import Material

ASSETS = Path(__file__).parent / "assets"


def build(material: Material) -> str:
    """The page's HTML."""
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["script_json"] = script_json
    return environment.get_template("page.html.j2").render(context(material))


def context(material: Material) -> dict[str, Any]:
    """What the template shows, section by section."""
    arrays = load_body(material.body)
    metrics = material.metrics
    views = galleries.novel_views(material)
    bodies = {
        name: gallery
        for head, name in galleries.HEADS.items()
        if (gallery := galleries.bodies(material, arrays, head)) is not None
    }
    return {
        "style": _asset("page.css"),
        "script": _asset("viewer.js"),
        "config": material.config,
        "synthetic": material.config.dataset.kind == "synthetic",
        "subjects": [f"S{number}" for number in sorted(set(material.predictions.frames["subject"].tolist()))],
        "test_frames": len(material.predictions.frames["frame"]),
        "acts": sections.acts(material),
        "cards": cards(metrics),
        "has_vertices": "smpl/pve_mm" in metrics or "hmr/pve_mm" in metrics,
        "has_fitted": any(name.startswith(tables.FITTED) for name in metrics),
        "dag": dag.draw(_stages(material)),
        "views": views,
        "poses": galleries.poses(material),
        "labels": label_section(material.curve),
        "bodies": bodies,
        "hero": hero(views, bodies),
        "counts": sections.counts(material),
        "exclusions": sections.exclusions(material),
        "curves": [sections.curves(training) for training in material.training],
        "parts": [table for stage in tables.STAGES if (table := tables.per_stage(metrics, stage)) is not None],
        "joints": [table for stage in tables.STAGES if (table := tables.per_joint(metrics, stage)) is not None],
        "has_intervals": any("_ci95_" in name for name in metrics),
        "looks": looks.tables(metrics),
        "facing": tables.by_facing(metrics),
        "overall": tables.overall(metrics),
        "stages": tables.STAGES,
        "provenance": sections.provenance(material, arrays),
        "config_text": sections.config_text(material),
    }


def _stages(material: Material) -> tuple[dag.Node, ...]:
    paths = Paths(material.config)
    swept = material.config.labels.representations
    return dag.nodes_for(
        material.config.dataset.kind, fits=paths.fits_bodies, measures=paths.measures_fits,
        judged=material.config.hmr.prior_weight > 0, begun=material.config.hmr.start == "enc_dec", sweep=bool(swept),
        rivals=bool({*swept} & {*material.config.rivals}),
    )  # fmt: skip


def hero(views: galleries.Gallery | None, bodies: dict[str, galleries.Gallery]) -> list[tuple[str, galleries.Example]]:
    """The middle example of the novel views and of the last head's bodies: what the page opens with."""
    shown = []
    if views is not None and views.examples:
        middle = views.examples[len(views.examples) // 2]
        shown.append(("Novel view", replace(middle, pictures=middle.pictures[:3])))
    for name, gallery in list(bodies.items())[-1:]:
        median = next((example for example in gallery.examples if example.why == "median"), gallery.examples[0])
        shown.append((name, replace(median, pictures=median.pictures[:3])))
    return shown


def script_json(value: object) -> Markup:
    """JSON that may stand inside a script element."""
    return Markup(json.dumps(value, separators=(",", ":")).replace("<", "\\u003c"))  # noqa: S704 - no < is left


def _asset(name: str) -> Markup:
    return Markup((ASSETS / name).read_text(encoding="utf-8"))  # noqa: S704 - our own file
