"""Filming: a subject performs, four cameras see frames, masks and true joints.

World frame in metres inside this module; what leaves it says its unit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int8, UInt8
from numpy import ndarray

from codebase.body.arrays import BodyArrays, joint_transforms, lbs_numpy, rotation_matrices
from codebase.render.raster import Pinhole, rasterise, vertex_normals
from codebase.skeleton import SMPL
from codebase.synthetic.appearance import SEAT, Outfit, dress, shaped, sole_offset_m
from codebase.synthetic.bodies import Person, make_person
from codebase.synthetic.motion import make_clip
from codebase.synthetic.rig import Camera, look_at, make_rig
from codebase.synthetic.rooms import Lights, make_room, render_room, vignette
from codebase.synthetic.shading import develop, floor_shadow, grain, shade
from codebase.synthetic.stool import stool

LIGHT_MAP, LIGHT_REACH_M, KNEE_M = 288, 1.3, 0.45
NOISE_TILE, NOISE_SIGMA = 64, 1.6
SHADES_PER_UNIT = 2048


@dataclass(frozen=True)
class Take:
    """One performance.

    Attributes:
        pose_rad, transl_m: SMPL parameters in the world frame.
        joints_world_mm: the 17 joints.
        vertices_m: body and extra vertices in the world, metres.
        seat_m: height of the stool under the pelvis, if there is one.
    """

    pose_rad: Float32[ndarray, "frames 24 3"]
    transl_m: Float32[ndarray, "frames 3"]
    joints_world_mm: Float[ndarray, "frames 17 3"]
    vertices_m: Float32[ndarray, "frames vertices 3"]
    pelvis_m: Float[ndarray, "frames 3"]
    seat_m: float | None


@dataclass(frozen=True)
class View:
    """A camera of a session and its empty room, linear and as exposed."""

    camera: Camera
    linear: Float32[ndarray, "height width 3"]
    still: Float32[ndarray, "height width 3"]
    vignette: Float32[ndarray, "height width"]


@dataclass(frozen=True)
class Session:
    """A subject before the cameras."""

    subject: int
    seed: int
    body: BodyArrays
    person: Person
    outfit: Outfit
    lights: Lights
    views: dict[int, View]
    table: Float32[ndarray, " shades"]
    noise: Int8[ndarray, "height width 3"]

    @property
    def betas(self) -> Float[ndarray, "10"]:
        """Shape of the subject's body."""
        return np.array(self.person.betas)


@dataclass(frozen=True)
class _Instant:
    """What all cameras share: the dressed mesh in the world and what the key light sees of it."""

    vertices: Float[ndarray, "points 3"]
    normals: Float[ndarray, "points 3"]
    faces: ndarray
    material: ndarray
    place: ndarray
    occlusion: ndarray
    rim: ndarray
    light: Float[ndarray, "14"]
    light_turn: Float[ndarray, "3 3"]
    depth: Float32[ndarray, "map map"]
    low: Float32[ndarray, "map map"]
    high: Float32[ndarray, "map map"]
    feet: Float[ndarray, "feet 3"]


def tone_table() -> Float32[ndarray, " shades"]:
    """8-bit tone of linear light in steps of 1 / SHADES_PER_UNIT: exposure, a shoulder, gamma."""
    x = 1.45 * np.arange(4 * SHADES_PER_UNIT) / SHADES_PER_UNIT
    tone = np.clip(x * (1 + x / 3.5) / (1 + 0.75 * x), 0, 1) ** (1 / 2.2)
    return (255 * (tone + 0.35 * tone * (1 - tone) * (2 * tone - 1))).astype(np.float32)


def expose(
    linear: Float32[ndarray, "height width 3"], table: Float32[ndarray, " n"]
) -> Float32[ndarray, "height width 3"]:
    """Tones of linear light, not yet rounded."""
    return table[np.minimum((linear * SHADES_PER_UNIT).astype(np.int32), len(table) - 1)]


def open_session(body: BodyArrays, subject: int, *, seed: int, size: int, cameras: tuple[int, ...]) -> Session:
    """Dress the subject, light the room, set up the cameras."""
    person, room, table = make_person(subject, seed=seed), make_room(subject, seed=seed), tone_table()
    rig = make_rig(subject, seed=seed, size=size)
    views = {}
    for number in cameras:
        linear = render_room(room, rig[number])
        views[number] = View(rig[number], linear, expose(linear, table), vignette(rig[number]))
    rng = np.random.default_rng([seed, subject, 74])
    noise = np.rint(rng.normal(0, NOISE_SIGMA, (size + NOISE_TILE, size + NOISE_TILE, 3))).astype(np.int8)
    return Session(subject, seed, body, person, dress(body, person), room.lights, views, table, noise)


def perform(session: Session, act: int, subact: int, *, frames: int, fps: float) -> Take:
    """Let the subject act."""
    body, betas = session.body, session.betas
    rest_joints = body.J_regressor @ shaped(body, betas)
    clip = make_clip(
        act, subact, seed=session.person.motion_seed, frames=frames, fps=fps,
        rest_joints_m=rest_joints.astype(float), sole_offset_m=sole_offset_m(body, betas),
    )  # fmt: skip
    rotations = rotation_matrices(clip.pose_rad.astype(np.float32))
    vertices, joints24 = lbs_numpy(body, betas[None], rotations, clip.transl_m)
    joints = np.einsum("jv,nvx->njx", body.J17_regressor, vertices, optimize=True) * 1000.0
    pelvis_m = joints24[:, 0].astype(float)
    take = Take(clip.pose_rad, clip.transl_m, joints, vertices, pelvis_m, clip.seat_m)
    return with_what_hangs(session, take)


def with_what_hangs(session: Session, take: Take) -> Take:
    """The take with the outfit's own vertices (hair, skirt) after the body's, in place of another outfit's."""
    body, extra, frames = session.body, session.outfit, len(take.pose_rad)
    vertices = take.vertices_m[:, : len(body.v_template)]
    if len(extra.extra_m):
        rest_joints = body.J_regressor @ shaped(body, session.betas)
        rotations = rotation_matrices(take.pose_rad.astype(np.float32))
        maps, _ = joint_transforms(rotations, np.broadcast_to(rest_joints, (frames, len(SMPL), 3)))
        blended = np.einsum("ej,njxy->nexy", extra.extra_weights, maps, optimize=True)
        hanging = np.einsum("nexy,ey->nex", blended[..., :3], extra.extra_m) + blended[..., 3] + take.transl_m[:, None]
        vertices = np.concatenate([vertices, hanging.astype(np.float32)], axis=1)
    return replace(take, vertices_m=vertices)


def film(
    session: Session, take: Take, frame: int, *, salt: int = 0
) -> dict[int, tuple[UInt8[ndarray, "height width 3"], UInt8[ndarray, "height width"]]]:
    """Frame (RGB) and mask (0 or 255) of each camera at frame `frame` (from 0); `salt` varies the noise."""
    instant = _instant(session, take, frame)
    rng = np.random.default_rng([session.seed, session.subject, salt, frame])
    shots = {}
    for number, view in session.views.items():
        start = rng.integers(0, NOISE_TILE, 2)
        shots[number] = _shoot(session, view, instant, int(start[0]), int(start[1]))
    return shots


def _instant(session: Session, take: Take, frame: int) -> _Instant:
    outfit = session.outfit
    bare = take.vertices_m[frame].astype(float)
    normals = np.zeros_like(bare)
    count = len(session.body.v_template)
    normals[:count] = vertex_normals(bare[:count], session.body.faces)
    weight = outfit.weight[:, None]
    outward = normals[outfit.first] * (1 - weight) + normals[outfit.second] * weight
    vertices = bare[outfit.first] * (1 - weight) + bare[outfit.second] * weight + outward * outfit.offset_m[:, None]
    faces, material, place = outfit.faces, outfit.material, outfit.place_m
    occlusion, rim = outfit.occlusion, outfit.rim_m
    if take.seat_m is not None and (seat := stool(take.seat_m, take.pelvis_m)) is not None:
        points, triangles = seat
        faces = np.concatenate([faces, triangles.astype(np.int32) + np.int32(len(vertices))])
        material = np.concatenate([material, np.full(len(triangles), SEAT, np.uint8)])
        vertices = np.concatenate([vertices, points])
        place = np.concatenate([place, np.zeros_like(points)])
        occlusion = np.concatenate([occlusion, np.full(len(points), 0.6)])
        rim = np.concatenate([rim, np.ones(len(points))])
    light, light_R, depth, low, high = _key_light(session.lights, vertices, faces, take.pelvis_m[frame])
    ends = _feet(bare, session.body)
    return _Instant(
        vertices, vertex_normals(vertices, faces), faces, material, place, occlusion, rim,
        light, light_R, depth, low, high, ends,
    )  # fmt: skip


def _feet(vertices: Float[ndarray, "n 3"], body: BodyArrays) -> Float[ndarray, "4 3"]:
    """Heels' and toes' places: the feet that darken the floor."""
    rows = [SMPL.index(name) for name in ("left_ankle", "right_ankle", "left_foot", "right_foot")]
    feet = body.J_regressor[rows] @ vertices[: len(body.v_template)]
    feet[:, 2] = np.maximum(feet[:, 2] - 0.09, 0)
    return feet.astype(float)


def _key_light(lights: Lights, vertices: ndarray, faces: ndarray, centre: ndarray) -> tuple[ndarray, ...]:
    """Parameters of the light (see shading._lit) and what it sees: inverse depth, and soft blockers low and high."""
    position = lights.key_m
    towards = centre * [1, 1, 0.85]
    R = look_at(position, towards)
    middle = (LIGHT_MAP - 1) / 2
    focal = LIGHT_MAP / 2 / LIGHT_REACH_M * float(np.linalg.norm(towards - position))
    seen = rasterise((vertices - position) @ R.T, faces, Pinhole(focal, focal, middle, middle, LIGHT_MAP, LIGHT_MAP))
    depth = seen.inverse_depth
    v, u = np.mgrid[:LIGHT_MAP, :LIGHT_MAP].astype(np.float32)
    fall = R[0, 2] * (u - middle) / focal + R[1, 2] * (v - middle) / focal + R[2, 2]
    covered = depth > 0
    height = position[2] + fall / np.maximum(depth, 1e-6)
    low = cv2.GaussianBlur((covered & (height < KNEE_M)).astype(np.float32), (0, 0), 1.3)
    high = cv2.GaussianBlur((covered & (height >= KNEE_M)).astype(np.float32), (0, 0), 6.0)
    light = np.concatenate([position, lights.key, lights.sky, lights.bounce, [focal, middle]])
    return light, R, depth, low, high


def _bounds(points_px: ndarray, size: int, margin: int) -> tuple[int, int, int, int]:
    """left, top, right, bottom of a window about points, inside the image."""
    low = np.clip(np.floor(points_px.min(0)) - margin, 0, size).astype(int)
    high = np.clip(np.ceil(points_px.max(0)) + margin + 1, 0, size).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _project(points: ndarray, camera: Camera) -> tuple[ndarray, ndarray]:
    """Points of the world (m) in the camera frame (m) and in pixels."""
    cam = (points - camera.T_mm / 1000) @ camera.R.T
    return cam, cam[:, :2] / np.maximum(cam[:, 2:], 0.05) * camera.f_px + camera.c_px


def _shoot(
    session: Session, view: View, instant: _Instant, noise_v: int, noise_u: int
) -> tuple[UInt8[ndarray, "height width 3"], UInt8[ndarray, "height width"]]:
    camera, size = view.camera, view.camera.size
    image = np.empty((size, size, 3), np.uint8)
    mask = np.zeros((size, size), np.uint8)
    grain(view.still, session.noise, noise_v, noise_u, image)
    cam, px = _project(instant.vertices, camera)
    _, fallen = _project(_shadow_on_floor(instant), camera)
    left, top, right, bottom = _bounds(np.concatenate([px, fallen]), size, max(4, size // 40))
    if left >= right or top >= bottom:
        return image, mask
    linear = view.linear[top:bottom, left:right].copy()
    lens = np.array([*camera.f_px, *camera.c_px])
    T = camera.T_mm / 1000
    floor_shadow(
        top, left, lens, camera.R, T, instant.light, instant.light_turn, instant.low, instant.high, instant.feet, linear
    )
    colour, cover, person = (
        np.zeros_like(linear),
        np.zeros(linear.shape[:2], np.float32),
        np.zeros(linear.shape[:2], np.float32),
    )
    _draw(session, instant, camera, cam, px, (left, top), colour, cover, person)
    colour *= view.vignette[top:bottom, left:right, None]
    develop(linear, top, left, colour, cover, session.table, session.noise, noise_v, noise_u, image)
    mask[top:bottom, left:right][person >= 0.5 - 1e-4] = 255
    return image, mask


def _shadow_on_floor(instant: _Instant) -> ndarray:
    """Every 20th vertex, thrown on the floor by the key light."""
    points, light = instant.vertices[::20], instant.light[:3]
    far = np.clip(light[2] / np.maximum(light[2] - points[:, 2:], 0.3), 1, 4)
    fallen = light + (points - light) * far
    fallen[:, 2] = 0
    return fallen


def _draw(
    session: Session, instant: _Instant, camera: Camera, cam: ndarray, px: ndarray, origin: tuple[int, int],
    colour: ndarray, cover: ndarray, person: ndarray,
) -> None:  # fmt: skip
    """Raster and shade the mesh in its own window inside the given one, whose corner lies at `origin`."""
    samples = 3 if camera.size <= 400 else 2
    left, top, right, bottom = _bounds(px, camera.size, 1)
    if left >= right or top >= bottom:
        return
    window = camera.pinhole.window(left, top, right - left, bottom - top, samples)
    raster = rasterise(cam, instant.faces, window, cull=True)
    part = (slice(top - origin[1], bottom - origin[1]), slice(left - origin[0], right - origin[0]))
    lens = np.array([window.fx, window.fy, window.cx, window.cy])
    mesh = (
        cam, instant.faces, instant.material, instant.normals, instant.place, instant.occlusion, instant.rim
    )  # fmt: skip
    shade(
        raster.face, mesh, session.outfit.paint, lens, camera.R, camera.T_mm / 1000,
        instant.light, instant.light_turn, instant.depth, samples, colour[part], cover[part], person[part],
    )  # fmt: skip
