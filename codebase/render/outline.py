"""Outlines of meshes along the lines of an image, on the CPU: what `silhouette` is made of.

A line of the image meets a triangle in an interval. How many triangles lie over a point of the line changes only
where the line crosses an edge whose faces are turned to different sides (or that has one face); everywhere else what
ends at one face begins at the next. So the few crossings with such edges, sorted, say exactly which part of the line is
covered, without depth and without looking at pixels; where the number leaves or reaches zero, there is the outline.
"""

from __future__ import annotations

import numpy as np

from codebase.render.jit import kernel
from codebase.render.raster import NEAR


@kernel
def _project(vertices, fx, fy, cx, cy, place):  # type: ignore[no-untyped-def]
    """Pixels of the vertices in front of the camera; returns how many are not."""
    behind = 0
    for i in range(vertices.shape[0]):
        z = float(vertices[i, 2])
        if z >= NEAR:
            inverse = 1.0 / z
            place[i, 0] = vertices[i, 0] * inverse * fx + cx
            place[i, 1] = vertices[i, 1] * inverse * fy + cy
        else:
            behind += 1
    return behind


@kernel
def _clip(a, b, fx, fy, cx, cy, out):  # type: ignore[no-untyped-def]
    """Where segment a-b meets the near plane, px; returns the share of b."""
    share = (NEAR - a[2]) / (float(b[2]) - a[2])
    out[0] = (a[0] + share * (float(b[0]) - a[0])) / NEAR * fx + cx
    out[1] = (a[1] + share * (float(b[1]) - a[1])) / NEAR * fy + cy
    return share


@kernel
def _sides(vertices, place, faces, behind, side):  # type: ignore[no-untyped-def]
    """+1 or -1 for the side of each face that the camera sees, 0 where it sees none."""
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        if behind == 0:
            ax, ay = place[i, 0], place[i, 1]
            value = (place[j, 0] - ax) * (place[k, 1] - ay) - (place[j, 1] - ay) * (place[k, 0] - ax)
        else:
            a, b, c = vertices[i], vertices[j], vertices[k]
            value = 0.0
            if a[2] >= NEAR or b[2] >= NEAR or c[2] >= NEAR:
                value = (
                    a[0] * (float(b[1]) * c[2] - float(b[2]) * c[1])
                    + a[1] * (float(b[2]) * c[0] - float(b[0]) * c[2])
                    + a[2] * (float(b[0]) * c[1] - float(b[1]) * c[0])
                )
        side[f] = 1 if value > 0.0 else (-1 if value < 0.0 else 0)


@kernel
def _add(x0, y0, x1, y1, z0, z1, from_share, to_share, jump, edge, n, ends, kind):  # type: ignore[no-untyped-def]
    row = ends[n]
    row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7] = x0, y0, x1, y1, z0, z1, from_share, to_share
    kind[n, 0], kind[n, 1] = jump, edge
    return n + 1


@kernel
def _segments(vertices, place, faces, edges, side, behind, fx, fy, cx, cy, ends, kind):  # type: ignore[no-untyped-def]
    """Edges between faces of different sides, cut off at the near plane; then where faces meet that plane.

    Rows of `ends`: x, y of both ends in pixels, their depths, and their places along the edge (0 to 1); of `kind`: by
    how much a line's count of faces jumps where it runs to the right and meets a segment that runs down, and the edge.
    """
    n = 0
    p, q = np.empty(2), np.empty(2)
    for e in range(edges.shape[0]):
        f, g = edges[e, 2], edges[e, 3]
        jump = (side[g] if g >= 0 else 0) - (side[f] if f >= 0 else 0)
        if jump == 0:
            continue
        i, j = edges[e, 0], edges[e, 1]
        near_i, near_j = vertices[i, 2] >= NEAR, vertices[j, 2] >= NEAR
        if near_i and near_j:
            n = _add(
                place[i, 0], place[i, 1], place[j, 0], place[j, 1], vertices[i, 2], vertices[j, 2], 0.0, 1.0,
                jump, e, n, ends, kind,
            )  # fmt: skip
        elif near_i:
            share = _clip(vertices[i], vertices[j], fx, fy, cx, cy, p)
            n = _add(place[i, 0], place[i, 1], p[0], p[1], vertices[i, 2], NEAR, 0.0, share, jump, e, n, ends, kind)
        elif near_j:
            share = _clip(vertices[i], vertices[j], fx, fy, cx, cy, p)
            n = _add(p[0], p[1], place[j, 0], place[j, 1], NEAR, vertices[j, 2], share, 1.0, jump, e, n, ends, kind)
    if behind:
        for f in range(faces.shape[0]):
            if side[f] != 0 and _cut(vertices, faces[f], fx, fy, cx, cy, p, q):
                n = _add(p[0], p[1], q[0], q[1], NEAR, NEAR, 0.0, 0.0, -side[f], -1, n, ends, kind)
    return n


@kernel
def _cut(vertices, face, fx, fy, cx, cy, p, q):  # type: ignore[no-untyped-def]
    """The side that a face gains at the near plane, from p to q, in the face's own sense; False if it gains none."""
    met = 0
    for corner in range(3):
        i, j = face[corner], face[(corner + 1) % 3]
        near_i, near_j = vertices[i, 2] >= NEAR, vertices[j, 2] >= NEAR
        if near_i == near_j:
            continue
        # in the order of the edge table, so that an edge is cut at the same place for both of its faces
        low, high = min(i, j), max(i, j)
        _clip(vertices[low], vertices[high], fx, fy, cx, cy, p if near_i else q)
        met += 1
    return met == 2


@kernel
def _reach(start, stop, scale, shift, lines):  # type: ignore[no-untyped-def]
    """First and last line between two coordinates; their own line counts for the lower one alone."""
    low, high = min(start, stop) * scale + shift, max(start, stop) * scale + shift
    # as floats first: far-out coordinates do not fit an integer; what is not a number is nowhere
    first, last = max(np.ceil(low), 0.0), min(np.ceil(high) - 1.0, lines - 1.0)
    if not first <= last:
        return 0, -1
    return int(first), int(last)


@kernel
def _count(ends, n, axis, scale, shift, start):  # type: ignore[no-untyped-def]
    """Where each line's crossings will stand: start[l] to start[l + 1]."""
    lines = start.shape[0] - 1
    start[:] = 0
    for s in range(n):
        first, last = _reach(ends[s, 1 - axis], ends[s, 3 - axis], scale, shift, lines)
        for line in range(first, last + 1):
            start[line + 1] += 1
    for line in range(lines):
        start[line + 1] += start[line]
    return start[lines]


@kernel
def _cross(ends, kind, n, axis, scale, shift, along, start, filled, base, at, share, jump, edge):  # type: ignore[no-untyped-def]
    """The crossings of each line, sorted along it; those before the image are summed up in `base`."""
    lines = start.shape[0] - 1
    filled[:], base[:] = 0, 0
    for s in range(n):
        row = ends[s]
        c0, c1 = row[1 - axis] * scale + shift, row[3 - axis] * scale + shift
        a0, a1 = row[axis], row[2 + axis]
        step = kind[s, 0] if (c1 > c0) != (axis == 1) else -kind[s, 0]
        first, last = _reach(row[1 - axis], row[3 - axis], scale, shift, lines)
        for line in range(first, last + 1):
            t = (line - c0) / (c1 - c0)
            place = a0 + t * (a1 - a0)
            if place < -0.5:
                base[line] += step
            elif place < along - 0.5:
                # the same point on the edge itself: depth is linear in space, its inverse in the image
                t = t * row[4] / (t * row[4] + (1.0 - t) * row[5])
                slot = start[line] + filled[line]
                filled[line] += 1
                while slot > start[line] and at[slot - 1] > place:
                    at[slot], share[slot] = at[slot - 1], share[slot - 1]
                    jump[slot], edge[slot] = jump[slot - 1], edge[slot - 1]
                    slot -= 1
                at[slot], share[slot] = place, row[6] + t * (row[7] - row[6])
                jump[slot], edge[slot] = step, kind[s, 1]


@kernel
def _fill(start, filled, base, at, jump, fine, mask):  # type: ignore[no-untyped-def]
    """Set the pixels whose centre is covered; `fine` lines a pixel, of which the middle one runs through centres."""
    height, width = mask.shape
    for v in range(height):
        line = v * fine + fine // 2
        count, begin = base[line], 0
        for slot in range(start[line], start[line] + filled[line]):
            end = int(np.ceil(at[slot]))
            if count > 0:
                for u in range(begin, min(end, width)):
                    mask[v, u] = 1.0
            count += jump[slot]
            begin = end
        if count > 0:
            for u in range(begin, width):
                mask[v, u] = 1.0


@kernel
def _keep_outline(start, filled, base, at, share, jump, edge, axis, fine, shape, n, which, how):  # type: ignore[no-untyped-def]
    """Append the crossings at which a line's count of faces leaves or reaches zero.

    Rows of `which`: the edge, the two pixels between whose centres the crossing lies (as one number; the same pixel
    twice at the image's border), the axis along which it moves; of `how`: its place along the edge, its weight.
    """
    height, width = shape
    along, across = (width, width) if axis == 0 else (height, 1)
    stride = 1 if axis == 0 else width
    for line in range(start.shape[0] - 1):
        count, slot, stop = base[line], start[line], start[line] + filled[line]
        while slot < stop:
            before = count > 0
            count += jump[slot]
            while slot + 1 < stop and at[slot + 1] == at[slot]:
                slot += 1
                count += jump[slot]
            if (count > 0) != before and edge[slot] >= 0:
                cell = int(np.floor(at[slot]))
                origin = (line // fine) * across
                which[n, 0] = edge[slot]
                which[n, 1] = origin + max(cell, 0) * stride
                which[n, 2] = origin + min(cell + 1, along - 1) * stride
                which[n, 3] = axis
                how[n, 0] = share[slot]
                how[n, 1] = (0.5 if before else -0.5) / fine
                n += 1
            slot += 1
    return n


@kernel
def trace(vertices, lens, faces, edges, fine, with_outline, masks):  # type: ignore[no-untyped-def]
    """Masks of several bodies (set to 1 where covered), and their outlines if wanted.

    Args:
        vertices: (B, V, 3), camera frame.
        lens: (B, 4), fx, fy, cx, cy.
        faces, edges: of the Topology.
        fine: lines a pixel on which the outline is taken, odd.
        with_outline: whether it is wanted.
        masks: (B, H, W), zeros.

    Returns:
        `which` (N, 4) int32 and `how` (N, 2) as in `_keep_outline`, and (B + 1) where each body's rows start.
    """
    batch, height, width = masks.shape
    place, side = np.zeros((vertices.shape[1], 2)), np.zeros(faces.shape[0], np.int8)
    ends = np.empty((edges.shape[0] + faces.shape[0], 8))
    kind = np.empty((edges.shape[0] + faces.shape[0], 2), np.int32)
    room, kept_room, kept = 4096, 4096 if with_outline else 0, 0
    at, share, jump, edge = np.empty(room), np.empty(room), np.empty(room, np.int32), np.empty(room, np.int32)
    which, how = np.empty((kept_room, 4), np.int32), np.empty((kept_room, 2))
    begin = np.zeros(batch + 1, np.int64)
    for b in range(batch):
        fx, fy, cx, cy = lens[b, 0], lens[b, 1], lens[b, 2], lens[b, 3]
        behind = _project(vertices[b], fx, fy, cx, cy, place)
        n = 0
        if behind < vertices.shape[1]:
            _sides(vertices[b], place, faces, behind, side)
            n = _segments(vertices[b], place, faces, edges, side, behind, fx, fy, cx, cy, ends, kind)
        for axis in range(2 if with_outline else 1):
            lines, along = (height * fine, width) if axis == 0 else (width * fine, height)
            scale, shift = float(fine), 0.5 * fine - 0.5
            start, filled, base = np.empty(lines + 1, np.int64), np.empty(lines, np.int64), np.empty(lines, np.int32)
            total = _count(ends, n, axis, scale, shift, start)
            if total > room:
                room = 2 * total
                at, share = np.empty(room), np.empty(room)
                jump, edge = np.empty(room, np.int32), np.empty(room, np.int32)
            _cross(ends, kind, n, axis, scale, shift, along, start, filled, base, at, share, jump, edge)
            if axis == 0:
                _fill(start, filled, base, at, jump, fine, masks[b])
            if with_outline:
                if kept + total > kept_room:
                    kept_room = 2 * (kept + total)
                    more, more_how = np.empty((kept_room, 4), np.int32), np.empty((kept_room, 2))
                    more[:kept], more_how[:kept] = which[:kept], how[:kept]
                    which, how = more, more_how
                kept = _keep_outline(
                    start, filled, base, at, share, jump, edge, axis, fine, (height, width), kept, which, how
                )
        begin[b + 1] = kept
    return which[:kept], how[:kept], begin


@kernel
def pull(vertices, lens, edges, which, how, begin, upstream, to_vertices, to_lens):  # type: ignore[no-untyped-def]
    """Add the gradient of sum(upstream * masks) to `to_vertices` (B, V, 3) and `to_lens` (B, 4)."""
    for b in range(vertices.shape[0]):
        strength = upstream[b].ravel()
        for n in range(begin[b], begin[b + 1]):
            push = how[n, 1] * (float(strength[which[n, 1]]) + strength[which[n, 2]])
            if push == 0.0:
                continue
            i, j, axis, share = edges[which[n, 0], 0], edges[which[n, 0], 1], which[n, 3], how[n, 0]
            rest = 1.0 - share
            p = rest * vertices[b, i, axis] + share * vertices[b, j, axis]
            z = rest * vertices[b, i, 2] + share * vertices[b, j, 2]
            to_lens[b, axis] += push * p / z
            to_lens[b, 2 + axis] += push
            push *= lens[b, axis] / z
            to_vertices[b, i, axis] += rest * push
            to_vertices[b, j, axis] += share * push
            to_vertices[b, i, 2] -= rest * push * p / z
            to_vertices[b, j, 2] -= share * push * p / z
