"""The DAG as inline SVG: the stages in layers by their longest path, long arrows in lanes between the boxes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape

from markupsafe import Markup


@dataclass(frozen=True)
class Node:
    """A stage: what it takes from, what it makes, and the section of the page that shows its results."""

    name: str
    needs: tuple[str, ...]
    makes: str
    link: str = ""


NODES = (
    Node("synthesize", (), "dataset tree", "data"),
    Node("extract", (), "dataset tree", "data"),
    Node("backgrounds", ("synthesize", "extract"), "median per camera"),
    Node("index", ("synthesize", "extract"), "rows, exclusions", "data"),
    Node("crops", ("index", "backgrounds"), "one HDF5 a subject"),
    Node("train_enc_dec", ("crops",), "no 3D labels", "training"),
    Node("embed", ("train_enc_dec",), "L_3d, L_app"),
    Node("train_prior", (), "poses and shapes", "training"),
    Node("train_pose", ("embed",), "few labels", "training"),
    Node("train_smpl", ("embed", "train_prior"), "joints, masks, prior", "training"),
    Node("fit_bodies", ("index",), "SMPL of each frame"),
    Node("train_hmr", ("crops", "fit_bodies", "train_prior", "train_enc_dec"), "image to body", "training"),
    Node("train_rival", ("crops",), "another encoder"),
    Node("embed_rival", ("train_rival",), "its L_3d"),
    Node("train_label_pose", ("embed", "embed_rival"), "by amounts of labels"),
    Node("train_label_images", ("train_enc_dec",), "by amounts of labels"),
    Node("measure_labels", ("train_label_pose", "train_label_images"), "on test people"),
    Node("label_sweep", ("measure_labels",), "curve", "labels"),
    Node("predict", ("train_enc_dec", "train_pose", "train_smpl", "train_hmr"), "predictions.h5"),
    Node("evaluate", ("predict", "fit_bodies", "label_sweep"), "metrics.json", "tables"),
    Node("report", ("evaluate",), "this page"),
)

_BOX_W, _BOX_H, _GAP_X, _GAP_Y, _MARGIN = 112, 42, 34, 20, 10
# An arrow that skips layers passes them in a lane of its own, so that no box lies on it.
_LANE_H = 10
RIVALS = frozenset({"train_rival", "embed_rival"})
SWEEP = RIVALS | {"train_label_pose", "train_label_images", "measure_labels", "label_sweep"}


def nodes_for(
    kind: str,
    *,
    fits: bool = True,
    measures: bool = True,
    judged: bool = False,
    begun: bool = False,
    sweep: bool = False,
    rivals: bool = False,
) -> tuple[Node, ...]:
    """The stages of a run: one that makes the dataset tree, or with `kind` "tree" the tree itself in its place.

    Args:
        kind: of the dataset.
        fits: whether training learns from fitted bodies.
        measures: whether fitted bodies are at least compared with the dataset's own.
        judged: whether the network on images listens to the prior.
        begun: whether it begins with the encoder of the representation.
        sweep: whether labels are swept.
        rivals: whether rivals are among what is swept.
    """
    makers = {"synthetic": "synthesize", "extract": "extract"}
    maker = next((node for node in NODES if node.name == makers.get(kind)), None)
    first = maker or Node("dataset tree", (), "given by the user", "data")
    absent = set() if fits or measures else {"fit_bodies"}
    absent |= (set() if rivals else RIVALS) if sweep else SWEEP
    of_hmr = absent | (set() if fits else {"fit_bodies"}) | (set() if judged else {"train_prior"})
    of_hmr |= set() if begun else {"train_enc_dec"}
    nodes = [first]
    for node in NODES:
        if node.name not in {*makers.values(), *absent}:
            unused = of_hmr if node.name == "train_hmr" else absent
            needs = tuple(need for need in node.needs if need not in unused)
            nodes.append(replace(node, needs=_needs(needs, makers.values(), first.name)))
    return tuple(nodes)


def _needs(needs: Iterable[str], makers: Iterable[str], first: str) -> tuple[str, ...]:
    """What a stage needs, with `first` in the place of all that make a tree."""
    return tuple(dict.fromkeys(first if need in makers else need for need in needs))


def depths_of(nodes: Sequence[Node]) -> dict[str, int]:
    """The layer of each node: right of all that it needs; one that needs nothing stands just left of its users."""
    needs = {node.name: node.needs for node in nodes}
    depth: dict[str, int] = {}
    for name in needs:  # listed in running order, so that what a node needs comes first
        depth[name] = max((depth[need] + 1 for need in needs[name]), default=0)
    for name in needs:
        users = [depth[other] for other, n in needs.items() if name in n]
        if not needs[name] and users:
            depth[name] = min(users) - 1
    return depth


def chains_of(nodes: Sequence[Node], depth: Mapping[str, int]) -> list[list[str]]:
    """Each arrow as the boxes and lanes that it visits, one a layer; lanes are named source>target@layer."""
    return [
        [need, *(f"{need}>{node.name}@{level}" for level in range(depth[need] + 1, depth[node.name])), node.name]
        for node in nodes
        for need in node.needs
    ]


def order(depth: Mapping[str, int], chains: Sequence[Sequence[str]]) -> list[list[str]]:
    """Boxes and lanes of each layer from top to bottom: each by the mean height of its neighbours, in a few sweeps."""
    level = dict(depth) | {
        name: depth[chain[0]] + step for chain in chains for step, name in enumerate(chain) if name not in depth
    }
    before: dict[str, list[str]] = {name: [] for name in level}
    after: dict[str, list[str]] = {name: [] for name in level}
    for chain in chains:
        for left, right in itertools.pairwise(chain):
            before[right].append(left)
            after[left].append(right)
    layers: list[list[str]] = [[] for _ in range(max(level.values()) + 1)]
    for name, number in level.items():
        layers[number].append(name)
    for sweep in range(8):
        near, sequence = (before, layers) if sweep % 2 == 0 else (after, layers[::-1])
        for layer in sequence:
            height = {name: y for each in layers for name, y in _heights(each).items()}
            mean = {n: sum(height[o] for o in near[n]) / len(near[n]) if near[n] else height[n] for n in layer}
            layer.sort(key=mean.__getitem__)
    return layers


def _heights(layer: Sequence[str]) -> dict[str, float]:
    """Middles of the boxes and lanes of a layer, px, about 0."""
    sizes = [_LANE_H if ">" in name else _BOX_H for name in layer]
    top = -(sum(sizes) + _GAP_Y * (len(sizes) - 1)) / 2
    starts = itertools.accumulate((size + _GAP_Y for size in sizes[:-1]), initial=top)
    return {name: start + size / 2 for name, start, size in zip(layer, starts, sizes, strict=True)}


def draw(nodes: Sequence[Node]) -> Markup:
    """The picture; boxes link to the sections of the page."""
    depth = depths_of(nodes)
    chains = chains_of(nodes, depth)
    layers = order(depth, chains)
    heights = [_heights(layer) for layer in layers]
    half = max(abs(y) for layer in heights for y in layer.values()) + _BOX_H / 2 + _MARGIN
    width = 2 * _MARGIN + len(layers) * (_BOX_W + _GAP_X) - _GAP_X
    place = {
        name: (float(_MARGIN + column * (_BOX_W + _GAP_X)), half + y)
        for column, layer in enumerate(heights)
        for name, y in layer.items()
    }
    arrows = "".join(_arrow([place[name] for name in chain]) for chain in chains)
    boxes = "".join(_box(node, *place[node.name]) for node in nodes)
    spoken = "; ".join(f"{node.name} from {', '.join(node.needs)}" if node.needs else node.name for node in nodes)
    head = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0.5L7.5,4L0,7.5Z"/></marker></defs>'
    )
    return Markup(  # noqa: S704 - names are escaped
        f'<svg class="dag" viewBox="0 0 {width} {2 * half:.0f}" role="img" aria-label="The stages: {escape(spoken)}">'
        f"{head}{arrows}{boxes}</svg>"
    )


def _box(node: Node, x: float, middle: float) -> str:
    box = (
        f'<rect x="{x}" y="{middle - _BOX_H / 2:.1f}" width="{_BOX_W}" height="{_BOX_H}" rx="6"/>'
        f'<text class="name" x="{x + _BOX_W / 2}" y="{middle - 3:.1f}">{escape(node.name)}</text>'
        f'<text class="makes" x="{x + _BOX_W / 2}" y="{middle + 12:.1f}">{escape(node.makes)}</text>'
    )
    return f'<a href="#{node.link}">{box}</a>' if node.link else f"<g>{box}</g>"


def _arrow(stops: Sequence[tuple[float, float]]) -> str:
    """Smooth curves between layers, straight along the lanes; `stops` are left edges and middles."""
    x, y = stops[0][0] + _BOX_W, stops[0][1]
    path = [f"M{x:.1f},{y:.1f}"]
    for number, (left, middle) in enumerate(stops[1:], start=2):
        end = left - 2 if number == len(stops) else left
        bend = (end - x) / 2
        path.append(f"C{x + bend:.1f},{y:.1f} {end - bend:.1f},{middle:.1f} {end:.1f},{middle:.1f}")
        x, y = left + _BOX_W, middle
        if number < len(stops):
            path.append(f"H{x:.1f}")
    return f'<path class="arrow" d="{"".join(path)}"/>'
