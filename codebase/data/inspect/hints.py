"""Suspicions: what the figures of a tree say about cameras, joints and masks, in sentences."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from codebase.data.inspect import bones, fit
from codebase.data.inspect.look import Camera, Found, Look
from codebase.data.inspect.survey import Subject, Survey
from codebase.skeleton import H36M

MASK_MOST, MASK_LEAST = 0.6, 0.002
DEPTH_MM = (500.0, 15_000.0)
_POSES_APART_MM = 20.0
_SIZE_APART_PX = 10
Key = fit.Key


@dataclass
class CameraFigures:
    """Figures of one camera of one subject; NaN where nothing tells.

    Attributes:
        on_person: share of projected joints that fall on the person.
        by_masks: whether masks said where the person is, or the difference from the camera's median.
        person_share: part of the masks that is person.
        upright: share of frames whose head is above the feet in the image.
        depth_mm: nearest and farthest root.
    """

    number: int
    on_person: float = float("nan")
    by_masks: bool = True
    person_share: float = float("nan")
    upright: float = float("nan")
    depth_mm: tuple[float, float] = (float("nan"), float("nan"))


@dataclass
class Hints:
    """Of one subject: figures by camera, its skeleton, and sentences that name suspicions."""

    subject: int
    cameras: dict[int, CameraFigures] = field(default_factory=dict)
    body: bones.Body | None = None
    sentences: list[str] = field(default_factory=list)


def all_hints(survey: Survey) -> list[Hints]:
    """Figures and suspicions of every subject."""
    cameras = {_key(item): item.camera for subject in survey.subjects for item in subject.present if item.camera}
    return [hints(subject, cameras) for subject in survey.subjects]


def hints(subject: Subject, cameras: dict[Key, Camera]) -> Hints:
    """Figures and suspicions of one subject; `cameras` are those of all."""
    out = Hints(subject.number)
    present = subject.present
    for number, items in _by_camera(present).items():
        out.cameras[number] = _figures(number, items)
    out.sentences += _about_skeleton(out, present)
    out.sentences += _about_masks(subject.number, present)
    out.sentences += _about_cameras(out, present, cameras)
    out.sentences += _about_depth(out)
    out.sentences += _about_sizes(subject.number, present)
    out.sentences += _about_twins(subject.number, present)
    out.sentences += _about_instants(subject.number, present)
    out.sentences += _about_names(subject.number, present)
    return out


def _figures(number: int, items: Sequence[Found]) -> CameraFigures:
    figures = CameraFigures(number)
    shares = [look.person_share for item in items for look in item.looks if look.person_share >= 0]
    if shares:
        figures.person_share = float(np.mean(shares))
    root = H36M.index("root")
    roots = [item.camera.depth_mm(item.sampled[:, root]) for item in items if item.camera]
    # of people whose root alone is known, too
    looks = [(item.camera, look.joints_world_mm[None, root]) for item in items if item.camera for look in item.looks]
    roots += [camera.depth_mm(place) for camera, place in looks]
    depths = np.concatenate([*roots, np.zeros(0)])
    depths = depths[np.isfinite(depths)]
    if len(depths):
        figures.depth_mm = (float(depths.min()), float(depths.max()))
    heads = [above for item in items for look in item.looks if (above := _is_upright(item, look)) is not None]
    if heads:
        figures.upright = float(np.mean(heads))
    return figures


def _is_upright(item: Found, look: Look) -> bool | None:
    placed = item.camera.place(look.joints_world_mm)[:, 1] if item.camera else np.full(len(H36M), np.nan)
    top, feet = placed[H36M.index("head_top")], placed[H36M.indices("left_foot", "right_foot")].mean()
    return bool(top < feet) if np.isfinite(top) and np.isfinite(feet) else None


def _about_skeleton(out: Hints, present: Sequence[Found]) -> Iterator[str]:
    """One camera of each sequence tells: all share the pose."""
    first = {(item.folder.action, item.folder.subaction): item.sampled for item in reversed(present)}
    poses = {sequence: each for sequence, each in sorted(first.items()) if len(each)}
    if not poses:
        return
    everything = np.concatenate(list(poses.values())).astype(np.float64)
    out.body = body = bones.measure(everything)
    who = f"S{out.subject}"
    low, high = bones.TRUNK_MM
    if body.trunk_mm < low / 100:
        yield f"{who}: from root to head top are {body.trunk_mm:.2g}: pose3d_world (and T) must be in mm, not metres"
    elif not low < body.trunk_mm < high:
        wanted = f"not {low:.0f} to {high:.0f}"
        yield f"{who}: from root to head top are {body.trunk_mm:.0f} mm, {wanted}: wrong unit or order of joints"
    axis = int(np.argmax(np.abs(body.up)))
    if abs(body.up[axis]) > 0.5 and (axis != 2 or body.up[2] < 0):
        sign = "-" if body.up[axis] < 0 else "+"
        yield f"{who}: people stand along {sign}{'xyz'[axis]} of the world: it must be z up"
    faulty = {sequence: each for sequence, each in poses.items() if bones.measure(each.astype(np.float64)).faults}
    if faulty:
        yield _skeleton_sentence(who, faulty, len(poses))


def _skeleton_sentence(who: str, faulty: dict[tuple[int, int], np.ndarray], sequences: int) -> str:
    pooled = np.concatenate(list(faulty.values())).astype(np.float64)
    where = who if len(faulty) == sequences else f"{who} {_sequences(list(faulty))}"
    body, explained = bones.measure(pooled), bones.explain(pooled)
    return f"{where}: {explained or 'the order of joints looks wrong'}: {'; '.join(_body_faults(body))}"


def _body_faults(body: bones.Body) -> Iterator[str]:
    if body.odd:
        yield f"bones of a length no person has: {', '.join(body.odd[:4])}"
    if body.spread[0] > bones.LARGEST_SPREAD:
        yield f"the bone to {body.spread[1]} changes by {body.spread[0]:.0%} in time"
    if body.asymmetry[0] > bones.LARGEST_ASYMMETRY:
        yield f"the bone to {body.asymmetry[1]} and its mirror image differ by {body.asymmetry[0]:.0%}"
    if body.forward < bones.FEWEST_FORWARD:
        yield f"nose and knees point forward in only {body.forward:.0%} of the poses"
    if body.twisted > 0.5:
        yield f"hips and shoulders face opposite ways in {body.twisted:.0%} of the poses"
    if body.is_headless:
        yield "head_top is nearer to the neck than head"
    if not body.faults:
        yield "seen in single sequences"


def _about_masks(subject: int, present: Sequence[Found]) -> Iterator[str]:
    for number, items in _by_camera(present).items():
        looks = [look for item in items for look in item.looks if look.mask_small is not None]
        if not looks:
            continue
        share = float(np.mean([look.person_share for look in looks]))
        most = max(look.mask_most for look in looks)
        who = f"camera {number} of S{subject}"
        if 0 < most < 128:
            yield f"{who}: the masks' largest value is {most}: a person must be 128 to 255, so nobody is seen in them"
        elif share > MASK_MOST:
            yield f"{who}: the masks call {share:.0%} of the image a person: they look inverted (person is white)"
        elif share < MASK_LEAST:
            yield f"{who}: the masks call {share:.2%} of the image a person: they look empty"
        wrong = next((k for k in looks if k.mask_size != k.size), None)
        if wrong:
            yield f"{who}: masks of {_by(wrong.mask_size)} beside images of {_by(wrong.size)}"


def _about_cameras(out: Hints, present: Sequence[Found], cameras: dict[Key, Camera]) -> Iterator[str]:
    """Which cameras miss the person, and which usual mistake would explain it; cameras of one mistake together."""
    shots = fit.shots(present)
    by_reason: dict[str, dict[int, list[tuple[Found, float, float]]]] = defaultdict(lambda: defaultdict(list))
    shares: dict[int, list[float]] = defaultdict(list)
    for item in present:
        mine = shots.get(_key(item))
        if not mine or item.camera is None:
            continue
        now = fit.share(mine, item.camera.place)
        shares[item.folder.camera].append(now)
        has_masks = any(look.mask_small is not None for look in item.looks)
        out.cameras[item.folder.camera].by_masks = has_masks
        better = fit.explain(item, mine, cameras, now=now, has_masks=has_masks)
        if better or now < fit.LOW_SHARE:
            reason, share = (better.text, better.share) if better else ("", 0.0)
            by_reason[reason][item.folder.camera].append((item, now, share))
    for number, values in shares.items():
        out.cameras[number].on_person = float(np.mean(values))
    for reason, hit in by_reason.items():
        yield from _camera_sentences(out, reason, hit, shares)


def _camera_sentences(
    out: Hints, reason: str, hit: dict[int, list[tuple[Found, float, float]]], shares: dict[int, list[float]]
) -> Iterator[str]:
    groups: dict[str, list[int]] = defaultdict(list)
    for number, items in hit.items():
        whole = 2 * len(items) >= len(shares[number])
        groups["" if whole else _sequences([(i.folder.action, i.folder.subaction) for i, _, _ in items])].append(number)
    for where, numbers in groups.items():
        now = float(np.mean([n for number in numbers for _, n, _ in hit[number]]))
        then = float(np.mean([t for number in numbers for _, _, t in hit[number]]))
        what = "the mask" if all(out.cameras[number].by_masks for number in numbers) else "what moves"
        cameras = f"camera{'s' if len(numbers) > 1 else ''} {', '.join(map(str, sorted(numbers)))} of S{out.subject}"
        seen = f"{cameras}{' in ' + where if where else ''}: only {now:.0%} of joints fall into {what}"
        if reason:
            yield f"{seen}: {reason} ({then:.0%} then)"
        elif all(out.cameras[number].person_share > MASK_MOST for number in numbers):
            continue  # inverted masks are named already
        else:
            yield f"{seen}: the camera's matrices may belong to another camera, or the poses to other frames"


def _about_depth(out: Hints) -> Iterator[str]:
    low, high = DEPTH_MM
    for number, figures in out.cameras.items():
        who, (near, far) = f"camera {number} of S{out.subject}", figures.depth_mm
        if far <= 0:
            yield f"{who}: the person is behind the camera in every frame"
        elif near < low or far > high:
            yield f"{who}: the root is {near / 1000:.3g} to {far / 1000:.3g} m from the camera"
        if figures.upright < 0.3:
            yield f"{who}: people stand on their heads in {1 - figures.upright:.0%} of frames"


def _about_sizes(subject: int, present: Sequence[Found]) -> Iterator[str]:
    apart: Counter[tuple[int, str]] = Counter()
    for item in present:
        for look in item.looks:
            if any(look.size) and max(abs(a - b) for a, b in zip(look.size, item.size, strict=True)) > _SIZE_APART_PX:
                apart[item.folder.camera, f"images have {_by(look.size)} px, the meta file says {_by(item.size)}"] += 1
    for (number, text), count in apart.items():
        yield f"camera {number} of S{subject}: {text} ({count} of the opened frames)"


def _about_twins(subject: int, present: Sequence[Found]) -> Iterator[str]:
    """Two cameras of a sequence cannot stand in the same place, nor take the same pictures."""
    pairs: dict[tuple[int, int, str], list[tuple[int, int]]] = defaultdict(list)
    for sequence, group in itertools.groupby(present, key=lambda item: (item.folder.action, item.folder.subaction)):
        for left, right in itertools.combinations(list(group), 2):
            if what := _twins(left, right):
                pairs[left.folder.camera, right.folder.camera, what].append(sequence)
    for (one, other, what), sequences in pairs.items():
        yield f"cameras {one} and {other} of S{subject} in {_sequences(sequences)}: {what}"


def _twins(one: Found, other: Found) -> str:
    if one.camera is None or other.camera is None:
        return ""
    pictures = {look.frame: look.digest for look in one.looks if look.digest}
    shared = [look.digest == pictures[look.frame] for look in other.looks if look.frame in pictures and look.digest]
    same_pictures = bool(shared) and all(shared)
    same_place = np.allclose(one.camera.R, other.camera.R) and np.allclose(one.camera.T_mm, other.camera.T_mm)
    if same_pictures and same_place:
        return "the same matrices and the same pictures: one is a copy of the other"
    if same_pictures:
        return "the same pictures with other matrices: one of them shows the wrong camera"
    return "the same matrices with other pictures: one of them has the wrong matrices" if same_place else ""


def _about_instants(subject: int, present: Sequence[Found]) -> Iterator[str]:
    """All cameras of an instant must hold one pose, in the world's frame."""
    for sequence, group in itertools.groupby(present, key=lambda item: (item.folder.action, item.folder.subaction)):
        items = [item for item in group if len(item.sampled)]
        for one, other in itertools.combinations(items, 2):
            _, rows, others = np.intersect1d(one.sampled_frames, other.sampled_frames, return_indices=True)
            if len(rows):
                apart = float(np.median(np.abs(one.sampled[rows] - other.sampled[others]).max(axis=(1, 2))))
                if apart > _POSES_APART_MM:
                    pair = f"cameras {one.folder.camera} and {other.folder.camera}"
                    yield (
                        f"S{subject} {_sequences([sequence])}: {pair} hold poses {apart:.0f} mm apart: they must be in "
                        "the world's frame, of one instant"
                    )
                    break


def _about_names(subject: int, present: Sequence[Found]) -> Iterator[str]:
    wrong = [(item, look) for item in present for look in item.looks if look.digest and not look.is_jpeg]
    if wrong:
        item, look = wrong[0]
        yield (
            f"S{subject}: {len(wrong)} of the opened .jpg files are no JPEGs, such as frame {look.frame} of "
            f"{item.folder.name}: they are read by content, so they are used"
        )


def _by_camera(present: Sequence[Found]) -> dict[int, list[Found]]:
    out: dict[int, list[Found]] = defaultdict(list)
    for item in present:
        out[item.folder.camera].append(item)
    return dict(sorted(out.items()))


def _sequences(sequences: Sequence[tuple[int, int]], most: int = 3) -> str:
    names = [f"act_{action:02d}_subact_{subaction:02d}" for action, subaction in sequences]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _key(item: Found) -> Key:
    folder = item.folder
    return (folder.subject, folder.action, folder.subaction, folder.camera)
