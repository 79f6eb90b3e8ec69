"""Two views of a predicted pose over the true one, as inline SVG."""

from __future__ import annotations

from html import escape

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from numpy import ndarray

from codebase.skeleton import H36M

_HALF_MM = 1050.0
_SIZE = 150


def side_of(child: int) -> str:
    """`left`, `right` or `middle`: the side of the bone that ends in joint `child`."""
    side = H36M.names[child].partition("_")[0]
    return side if side in ("left", "right") else "middle"


def two_views(predicted_im_mm: Float[ndarray, "17 3"], truth_im_mm: Float[ndarray, "17 3"], *, label: str) -> Markup:
    """Seen by the camera, and from the right of the picture (turned by 90 degrees); root-centred, mm."""
    drawn = []
    # im frame: x right, y down, z forward
    for number, axes in enumerate(((0, 1), (2, 1))):
        for pose, style in ((truth_im_mm, "truth"), (predicted_im_mm, "guess")):
            drawn.append(_pose(pose[:, axes], style, float(number * _SIZE)))
    names = [
        f'<text class="tick" x="{(number + 0.5) * _SIZE}" y="{_SIZE + 12}" text-anchor="middle">{name}</text>'
        for number, name in enumerate(("camera's view", "from the right"))
    ]
    return Markup(  # noqa: S704 - the label is escaped, the rest are numbers
        f'<svg class="poses" viewBox="0 0 {2 * _SIZE} {_SIZE + 16}" role="img" aria-label="{escape(label)}">'
        f"{''.join(drawn)}{''.join(names)}</svg>"
    )


def _pose(points_mm: np.ndarray, style: str, left: float) -> str:
    x, y = ((points_mm / _HALF_MM + 1) / 2 * _SIZE).T
    bones = [
        f'<line class="{style} {side_of(child)}" x1="{left + x[parent]:.1f}" y1="{y[parent]:.1f}" '
        f'x2="{left + x[child]:.1f}" y2="{y[child]:.1f}"/>'
        for parent, child in H36M.bones
    ]
    return "".join(bones)
