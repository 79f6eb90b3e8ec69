"""The outlines of codebase/render/outline.py in torch alone: for tensors on a GPU, whole batches at a time."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from codebase.render.raster import NEAR
from codebase.render.topology import on_device, topology_of


class Segments(NamedTuple):
    """Edges between faces of different sides, in front of the near plane; see `_segments` in outline.py."""

    body: Int[Tensor, " n"]
    edge: Int[Tensor, " n"]
    jump: Int[Tensor, " n"]
    ends: Float[Tensor, "n 2 2"]
    depth: Float[Tensor, "n 2"]
    share: Float[Tensor, "n 2"]


class Crossings(NamedTuple):
    """Where lines of the image meet segments, sorted by body, line and place."""

    line: Int[Tensor, " n"]
    at: Float[Tensor, " n"]
    jump: Int[Tensor, " n"]
    segment: Int[Tensor, " n"]
    along_segment: Float[Tensor, " n"]


class Outline(NamedTuple):
    """Crossings at which a line's count of faces leaves or reaches zero; pixels count through the whole batch."""

    body: Int[Tensor, " n"]
    edge: Int[Tensor, " n"]
    share: Float[Tensor, " n"]
    first: Int[Tensor, " n"]
    second: Int[Tensor, " n"]
    weight: Float[Tensor, " n"]
    axis: Int[Tensor, " n"]


def _sides(vertices: Float[Tensor, "b v 3"], faces: Int[Tensor, "f 3"]) -> Int[Tensor, "b f_and_none"]:
    """+1 or -1 for the side of each face that the camera sees, 0 where it sees none, and one more 0."""
    a, b, c = (vertices[:, faces[:, corner]] for corner in range(3))
    seen = torch.stack([corner[..., 2] >= NEAR for corner in (a, b, c)]).any(dim=0)
    # planes through the camera's centre: the sign is that of the area in the image, behind the camera, too
    value = (a * torch.linalg.cross(b - a, c - a)).sum(dim=-1)
    side = torch.where(seen, torch.sign(torch.nan_to_num(value)), 0.0).to(torch.int32)
    return torch.nn.functional.pad(side, (0, 1))


def _segments(
    vertices: Float[Tensor, "b v 3"],
    lens: Float[Tensor, "b 4"],
    faces: Int[Tensor, "f 3"],
    edges: Int[Tensor, "e 4"],
) -> Segments:
    side = _sides(vertices, faces)
    jump = side[:, edges[:, 3]] - side[:, edges[:, 2]]
    near = vertices[..., 2] >= NEAR
    body, edge = ((jump != 0) & (near[:, edges[:, 0]] | near[:, edges[:, 1]])).nonzero(as_tuple=True)
    points = vertices[body[:, None], edges[edge, :2]]
    ends, depth, share = _clipped(points, lens[body])
    found = Segments(body, edge, jump[body, edge], ends, depth, share)
    if bool(near.all()):
        return found
    cut = _cuts(vertices, lens, faces, side, near)
    return Segments(*(torch.cat(pair) for pair in zip(found, cut, strict=True)))


def _clipped(
    points: Float[Tensor, "n 2 3"], lens: Float[Tensor, "n 4"]
) -> tuple[Float[Tensor, "n 2 2"], Float[Tensor, "n 2"], Float[Tensor, "n 2"]]:
    """Pixels, depths and shares of the part of each segment in front of the near plane; one end at least is."""
    start, stop = points.unbind(1)
    behind = points[..., 2] < NEAR
    whole = torch.tensor([0.0, 1.0], dtype=points.dtype, device=points.device).expand(len(points), 2)
    met = ((NEAR - start[:, 2]) / (stop[:, 2] - start[:, 2]))[:, None]
    share = torch.where(behind, met, whole)
    place = torch.where(behind[..., None], (start + met * (stop - start))[:, None], points)
    depth = torch.where(behind, NEAR, points[..., 2])
    return place[..., :2] / depth[..., None] * lens[:, None, :2] + lens[:, None, 2:], depth, share


def _cuts(
    vertices: Float[Tensor, "b v 3"],
    lens: Float[Tensor, "b 4"],
    faces: Int[Tensor, "f 3"],
    side: Int[Tensor, "b f_and_none"],
    near: Bool[Tensor, "b v"],
) -> Segments:
    """What faces gain at the near plane; no vertex is moved by it, so the edge is -1."""
    corners = near[:, faces]
    body, face = (corners.any(dim=2) & ~corners.all(dim=2) & (side[:, :-1] != 0)).nonzero(as_tuple=True)
    following = faces.roll(-1, dims=1)
    leaves = near[:, faces] & ~near[:, following]
    enters = ~near[:, faces] & near[:, following]
    ends = []
    for meets in (leaves, enters):
        corner = meets[body, face].to(torch.uint8).argmax(dim=1)
        pair = torch.stack([faces[face, corner], following[face, corner]], dim=1).sort(dim=1).values
        points = vertices[body[:, None], pair]
        place, _, _ = _clipped(points, lens[body])
        behind = (points[..., 2] < NEAR).to(torch.uint8).argmax(dim=1)
        ends.append(place[torch.arange(len(body), device=body.device), behind])
    depth = lens.new_full((len(body), 2), NEAR)
    return Segments(
        body, torch.full_like(body, -1), -side[body, face], torch.stack(ends, dim=1), depth, torch.zeros_like(depth)
    )


def _cross(segments: Segments, axis: int, lines: int, along: int, fine: int) -> Crossings:
    """Crossings of all bodies' lines along `axis`, those behind the image's far border left out."""
    across = segments.ends[..., 1 - axis] * fine + (0.5 * fine - 0.5)
    first = across.amin(dim=1).ceil().clamp(0, lines)
    last = (across.amax(dim=1).ceil() - 1).clamp(-1, lines - 1)
    count = torch.nan_to_num(last - first + 1).clamp_min(0).long()
    segment = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    turn = torch.arange(len(segment), device=count.device) - (count.cumsum(0) - count)[segment]
    line = torch.nan_to_num(first).long()[segment] + turn
    start, stop = across[segment].unbind(1)
    t = (line.to(start.dtype) - start) / (stop - start)
    low, high = segments.ends[segment][..., axis].unbind(1)
    at = low + t * (high - low)
    jump = torch.where((stop > start) != (axis == 1), segments.jump[segment], -segments.jump[segment])
    line = segments.body[segment] * lines + line
    # what lies before the image counts, but not where
    at = at.clamp_min(-1.0)
    kept = (at < along - 0.5).nonzero(as_tuple=True)[0]
    kept = kept[torch.argsort(at[kept], stable=True)]
    kept = kept[torch.argsort(line[kept], stable=True)]
    return Crossings(line[kept], at[kept], jump[kept], segment[kept], t[kept])


def _fill(found: Crossings, batch: int, size: tuple[int, int], fine: int, dtype: torch.dtype) -> Tensor:
    """Masks: sums of the jumps before each pixel centre."""
    height, width = size
    centre = found.line % fine == fine // 2
    row, pixel = found.line[centre] // fine, found.at[centre].ceil().long().clamp_min(0)
    steps = torch.zeros(batch * height * (width + 1), dtype=torch.int32, device=found.line.device)
    steps.index_add_(0, row * (width + 1) + pixel, found.jump[centre])
    counts = steps.view(batch, height, width + 1).cumsum(dim=2)
    return (counts[..., :-1] > 0).to(dtype)


def _outline(found: Crossings, segments: Segments, axis: int, size: tuple[int, int], fine: int) -> Outline:
    """Crossings at which the count leaves or reaches zero; those at one place of a line act as one, by their last."""
    height, width = size
    along, across, stride = (width, width, 1) if axis == 0 else (height, 1, width)
    lines = (height if axis == 0 else width) * fine
    new_line = torch.ones_like(found.line, dtype=torch.bool)
    new_line[1:] = found.line[1:] != found.line[:-1]
    total = found.jump.cumsum(0)
    # lines whose last crossings lie beyond the image do not end at zero
    begin = torch.cummax(torch.where(new_line, torch.arange(len(total), device=total.device), 0), dim=0).values
    count = total - (total - found.jump)[begin]
    first_here = new_line.clone()
    first_here[1:] |= found.at[1:] != found.at[:-1]
    last_here = torch.ones_like(first_here)
    last_here[:-1] = first_here[1:]
    group = torch.cummax(torch.where(first_here, torch.arange(len(total), device=total.device), 0), dim=0).values
    before = (count - found.jump)[group] > 0
    segment = found.segment
    flips = last_here & (before != (count > 0)) & (segments.edge[segment] >= 0) & (found.at >= -0.5)
    chosen = flips.nonzero(as_tuple=True)[0]
    segment, t = segment[chosen], found.along_segment[chosen]
    body, line = found.line[chosen] // lines, found.line[chosen] % lines
    depth, ends = segments.depth[segment], segments.share[segment]
    t = t * depth[:, 0] / (t * depth[:, 0] + (1 - t) * depth[:, 1])
    cell = found.at[chosen].floor().long()
    origin = body * height * width + (line // fine) * across
    return Outline(
        body=body,
        edge=segments.edge[segment],
        share=ends[:, 0] + t * (ends[:, 1] - ends[:, 0]),
        first=origin + cell.clamp_min(0) * stride,
        second=origin + (cell + 1).clamp_max(along - 1) * stride,
        weight=(before[chosen].to(t.dtype) - 0.5) / fine,
        axis=torch.full_like(body, axis),
    )


def _exact(tensor: Tensor) -> Tensor:
    """In double precision where the device has it."""
    return tensor.detach() if tensor.device.type == "mps" else tensor.detach().double()


class _Silhouette(torch.autograd.Function):
    """As codebase/render/silhouette.py's `_OnCpu`, for any device."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        vertices: Tensor,
        lens: Tensor,
        faces: Tensor,
        size: tuple[int, int],
        fine: int,
    ) -> Tensor:
        triangles, edges = on_device(topology_of(faces), vertices.device)
        segments = _segments(_exact(vertices), _exact(lens), triangles, edges)
        height, width = size
        wanted = any(ctx.needs_input_grad[:2])
        fine = fine if wanted else 1
        rows = _cross(segments, 0, height * fine, width, fine)
        mask = _fill(rows, len(vertices), size, fine, vertices.dtype)
        if wanted:
            columns = _cross(segments, 1, width * fine, height, fine)
            parts = [_outline(found, segments, axis, size, fine) for axis, found in enumerate((rows, columns))]
            ctx.outline = Outline(*(torch.cat(pair) for pair in zip(*parts, strict=True)))
            ctx.ends = edges[ctx.outline.edge, :2]
        ctx.save_for_backward(vertices, lens)
        return mask

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None, None, None]:  # noqa: ANN401
        (vertices, lens), found = ctx.saved_tensors, ctx.outline
        strength, body, axis = _exact(upstream[0]).reshape(-1), found.body, found.axis
        push = found.weight * (strength[found.first] + strength[found.second])
        share = torch.stack([1 - found.share, found.share], dim=1)
        point = (share[..., None] * _exact(vertices[body[:, None], ctx.ends])).sum(dim=1)
        x, z = point.gather(1, axis[:, None])[:, 0], point[:, 2]
        to_lens = torch.zeros(lens.numel(), dtype=push.dtype, device=push.device)
        to_lens.index_add_(0, body * 4 + axis, push * x / z)
        to_lens.index_add_(0, body * 4 + 2 + axis, push)
        push = push * _exact(lens)[body, axis] / z
        flat = (body[:, None] * vertices.shape[1] + ctx.ends) * 3
        to_vertices = torch.zeros(vertices.numel(), dtype=push.dtype, device=push.device)
        to_vertices.index_add_(0, (flat + axis[:, None]).reshape(-1), (share * push[:, None]).reshape(-1))
        to_vertices.index_add_(0, (flat + 2).reshape(-1), (-share * (push * x / z)[:, None]).reshape(-1))
        return to_vertices.view_as(vertices).to(vertices), to_lens.view_as(lens).to(lens), None, None, None


def draw(
    vertices: Float[Tensor, "b v 3"],
    lens: Float[Tensor, "b 4"],
    faces: Int[Tensor, "f 3"],
    size: tuple[int, int],
    fine: int,
) -> Float[Tensor, "b h w"]:
    """Masks, as `silhouette` describes them; `lens` holds fx, fy, cx, cy, and `fine` is its `lines_per_pixel`."""
    masks: Tensor = _Silhouette.apply(vertices, lens, faces, size, fine)
    return masks
