"""The galleries of the page: novel views, poses, bodies; examples, and the distribution that they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from numpy import ndarray

from codebase.body.arrays import BodyArrays
from codebase.metrics import mpjpe, n_mpjpe, psnr_db
from codebase.render.overlay import draw_mesh
from codebase.report.charts import bar_chart, histogram
from codebase.report.choose import Choice, by_rank
from codebase.report.material import Material, NovelViews
from codebase.report.meshes import place, vertices_im_mm
from codebase.report.pictures import Image, data_uri, enlarge, person
from codebase.report.skeletons import two_views
from codebase.report.viewer import Scene, pack
from codebase.skeleton import H36M

STRIP_PX, PERSON_PX = 160, 300
HEADS = {"smpl": "SMPL from the embedding", "hmr": "Body from the image"}
PAPER = (244, 243, 239)
COLOUR = {"smpl": (0.45, 0.67, 0.88), "hmr": (0.50, 0.74, 0.62)}


@dataclass(frozen=True)
class Example:
    """One row of a gallery: pictures (title, data URI), drawings, and its honest caption."""

    title: str
    why: str
    caption: str
    pictures: tuple[tuple[str, str], ...] = ()
    drawing: Markup | None = None


@dataclass(frozen=True)
class Gallery:
    """Examples and the charts that they belong to; `scenes` is for the viewer."""

    examples: tuple[Example, ...]
    charts: tuple[tuple[str, Markup], ...] = ()
    scenes: dict[str, Any] | None = None


def novel_views(material: Material) -> Gallery | None:
    """Strips of input, prediction, target and background; None where nothing was predicted."""
    novel = material.predictions.novel
    if novel is None or not len(novel.mse_foreground):
        return None
    ours, empty = (psnr_db(m.astype(np.float64)) for m in (novel.mse_foreground, novel.mse_background_only))
    seen = np.isfinite(ours) & np.isfinite(empty)
    # without any mask nothing says where the person is
    chart = None
    if seen.any():
        chart = histogram(
            {"novel view": ours[seen], "empty background": empty[seen]},
            title="PSNR on the person, each pair of views", x_label="PSNR on the person, dB",
        )  # fmt: skip
    count = min(material.config.report.examples, len(novel.examples.input))
    order = _order(novel, ours)
    # evenly over the ranks of what predict drew, best and worst included: the best alone would flatter
    shown = [order[k] for k in np.linspace(0, len(order) - 1, count).round().astype(int)]
    strips = tuple(_strip(material, novel, number, ours, empty) for number in shown)
    caption = "PSNR on the person, all pairs of views: prediction (colour), empty background (grey); dashed: medians"
    return Gallery(strips, ((caption, chart),) if chart is not None else ())


def _order(novel: NovelViews, ours: np.ndarray) -> list[int]:
    """Examples from the best to the worst, where the file tells which pair each is."""
    pair, count = novel.examples.pair, len(novel.examples.input)
    return list(range(count)) if pair is None else [int(k) for k in np.argsort(-ours[pair], kind="stable")]


def _strip(material: Material, novel: NovelViews, number: int, ours: np.ndarray, empty: np.ndarray) -> Example:
    shown = novel.examples
    pictures = tuple(
        (name, data_uri(enlarge(image[number], STRIP_PX), quality=90))
        for name, image in (
            ("input", shown.input), ("prediction", shown.prediction), ("target", shown.target),
            ("empty background", shown.background),
        )
    )  # fmt: skip
    if shown.pair is None:
        error = ((shown.prediction[number] / 255.0 - shown.target[number] / 255.0) ** 2).mean()
        caption = f"whole crop {float(psnr_db(np.array([error]))[0]):.1f} dB"
        return Example(f"Example {number + 1}", "", caption, pictures)
    row = int(shown.pair[number])
    source, target = int(novel.source[row]), int(novel.target[row])
    camera = material.predictions.frames["camera"][target]
    caption = f"to camera {camera}. On the person {ours[row]:.1f} dB; empty background {empty[row]:.1f} dB"
    if not np.isfinite(ours[row]):
        caption = f"to camera {camera}. No mask says where the person is"
    return Example(material.predictions.label(source), _rank(ours, row), caption, pictures)


def _rank(values: Float[ndarray, " samples"], row: int) -> str:
    """Where a sample stands among all, the best first."""
    finite = values[np.isfinite(values)]
    return f"rank {int((finite > values[row]).sum()) + 1} of {len(finite)}"


def poses(material: Material) -> Gallery | None:
    """Poses by N-MPJPE rank, from the best to the worst, of the frames whose true pose is known; None without any."""
    predictions = material.predictions
    rows = predictions.labelled
    if predictions.pose_im_mm is None or not len(rows):
        return None
    guess, truth = predictions.pose_im_mm[rows].astype(np.float64), predictions.truth_im_mm[rows].astype(np.float64)
    mean = np.broadcast_to(predictions.mean_im_mm.astype(np.float64), truth.shape)
    errors, plain, base = n_mpjpe(guess, truth), mpjpe(guess, truth), n_mpjpe(mean, truth)
    examples, scenes = [], []
    for choice in by_rank(errors, material.config.report.examples):
        row = choice.row
        cut, _ = person(material, int(rows[row]), size=PERSON_PX)
        caption = f"N-MPJPE {errors[row]:.0f} mm, MPJPE {plain[row]:.0f} mm; mean pose {base[row]:.0f} mm"
        drawing = two_views(guess[row], truth[row], label=f"{choice.why}: predicted and true pose, {caption}")
        label = predictions.label(int(rows[row]))
        examples.append(Example(label, choice.why, caption, (("frame", data_uri(cut)),), drawing))
        scenes.append(Scene(choice.why, truth[row], guess[row]))
    spread = "N-MPJPE over the labelled test frames: predicted (colour), mean pose (grey); dashed: medians"
    charts = (
        (spread, _histogram(errors, base, "predicted", "mean pose")),
        ("MPJPE of each joint: predicted (colour), mean pose (grey)", _per_joint(guess, truth, mean)),
    )
    return Gallery(tuple(examples), charts, pack(scenes))


def _histogram(errors: np.ndarray, base: np.ndarray, ours: str, theirs: str) -> Markup:
    return histogram({ours: errors, theirs: base}, title=f"N-MPJPE, {ours} and {theirs}", x_label="N-MPJPE, mm")


def _per_joint(guess: np.ndarray, truth: np.ndarray, mean: np.ndarray) -> Markup:
    ours, base = (np.linalg.norm(points - truth, axis=-1).mean(axis=0) for points in (guess, mean))
    rows = {name.replace("_", " "): (float(a), float(b)) for name, a, b in zip(H36M.names, ours, base, strict=True)}
    rows.pop("root")  # the origin: its error is zero by definition
    return bar_chart(rows, title="MPJPE of each joint", unit="mm", names=("predicted", "mean pose"))


def bodies(material: Material, arrays: BodyArrays, head: str) -> Gallery | None:
    """Meshes of one head (`smpl` or `hmr`) over the frames and from the other three sides, by MPJPE rank."""
    predicted = material.predictions.bodies.get(head)
    if predicted is None:
        return None
    truth = material.predictions.truth_im_mm.astype(np.float64)
    joints = predicted.joints_im_mm.astype(np.float64)
    errors, base = mpjpe(joints, truth), mpjpe(np.broadcast_to(material.predictions.mean_im_mm, truth.shape), truth)
    rows = material.predictions.labelled
    if len(rows):
        ranked = by_rank(errors[rows], material.config.report.examples)
        choices = [Choice(int(rows[choice.row]), choice.why) for choice in ranked]
    else:
        choices = _evenly(len(truth), material.config.report.examples)
    vertices = vertices_im_mm(arrays, predicted, [choice.row for choice in choices])
    examples, scenes = [], []
    for choice, mesh in zip(choices, vertices, strict=True):
        known = bool(np.isfinite(errors[choice.row]))
        caption = f"MPJPE of its joints {errors[choice.row]:.0f} mm; mean pose {base[choice.row]:.0f} mm"
        caption = caption if known else "the true pose is not known"
        pictures = _overlay(material, arrays, choice, mesh, COLOUR[head])
        examples.append(Example(material.predictions.label(choice.row), choice.why, caption, pictures))
        scenes.append(Scene(choice.why, truth[choice.row] if known else None, joints[choice.row], mesh))
    return Gallery(tuple(examples), scenes=pack(scenes, arrays.faces))


def _evenly(total: int, count: int) -> list[Choice]:
    """Frames evenly apart, where there is no error to rank them by."""
    rows = sorted(set(np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()))
    return [Choice(row, f"row {row + 1} of {total}") for row in rows]


def _overlay(
    material: Material, arrays: BodyArrays, choice: Choice, mesh: np.ndarray, colour: tuple[float, float, float]
) -> tuple[tuple[str, str], ...]:
    frame, (f_px, c_px) = person(material, choice.row, size=PERSON_PX)
    placed = place(mesh, material.views, choice.row)
    paper = np.full_like(frame, PAPER)

    def drawn(image: Image, vertices_mm: np.ndarray) -> Image:
        return draw_mesh(image, vertices_mm, arrays.faces, f_px, c_px, colour=colour, samples=3)

    sides = {name: drawn(paper, turned) for name, turned in placed.turned_mm.items()}
    named = {"frame": frame, "predicted body": drawn(frame, placed.front_mm)} | sides
    return tuple((name, data_uri(image)) for name, image in named.items())
