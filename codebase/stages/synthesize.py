"""Stage synthesize: one subject of the miniature Human3.6M, as a dataset tree with true bodies beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from codebase.body.arrays import BodyArrays, load_body
from codebase.config import Config, SynthesizeConfig
from codebase.data.human36m import FRAME_SUFFIX, MASK_SUFFIX, META, Folder, list_frames, parse_folder, write_meta
from codebase.data.parallel import in_order
from codebase.errors import DataError
from codebase.files import create_h5, write_json, write_text
from codebase.logs import log
from codebase.paths import Paths
from codebase.synthetic.capture import Session, Take, film, open_session, perform

VERSION = 1
FORMAT = "posemill.bodies"


class Job(NamedTuple):
    """What the sequences of one subject share."""

    config: SynthesizeConfig
    body: Path
    root: Path
    subject: int
    cameras: tuple[int, ...]
    digest: str


class Truth(NamedTuple):
    """True pose of one sequence, and whether its frames were already there."""

    name: str
    pose_rad: Float32[ndarray, "frames 24 3"]
    transl_m: Float32[ndarray, "frames 3"]
    skipped: bool


def run(config: Config, *, subject: int, output: Path) -> None:
    """Render all acts of a subject that are not there yet, then write `output` (truth/S{subject}.h5).

    A sequence is skipped if its frames are complete and were made from the same digest (config section, body,
    cameras, VERSION). Format of the tree and of `output`: docs/conventions.md.

    Raises:
        UserError: the body file is missing, broken or without labels, nobody can perform an act of the config, or the
            dataset's folder holds somebody else's tree.
    """
    dataset = config.dataset
    claim(Paths(config).dataset)
    body = load_body(dataset.body)
    require_labels(body, dataset.body)
    parts = [VERSION, config.synthesize.model_dump(mode="json"), body.digest, sorted(dataset.cameras)]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
    job = Job(config.synthesize, dataset.body, Paths(config).dataset, subject, dataset.cameras, digest)
    sequences = [(act, subact) for act in dataset.acts for subact in dataset.subacts]
    # made before the workers fork, which then share it
    betas = _session(job).betas
    render = partial(_render, job)
    truths = list(in_order(render, sequences, workers=config.runtime.workers, what=f"subject {subject}, sequences"))
    _write_truth(output, betas, body.name, digest, truths)
    skipped = sum(truth.skipped for truth in truths)
    made = (len(truths) - skipped) * len(dataset.cameras) * config.synthesize.frames
    log.info("subject %d: %d frames rendered, %d of %d sequences were there", subject, made, skipped, len(truths))


def require_labels(body: BodyArrays, path: Path) -> None:
    """Clothes, skin and hair follow a body's part labels and landmarks, which licensed bodies do not have."""
    if not len(body.part) or not body.landmarks:
        raise DataError(
            "The body has no part labels and landmarks, by which people are dressed.", where=path,
            expected="for rendered people the free body, assets/free_body.npz",
            mend="leave dataset.body out; or set dataset.kind to tree or extract, which take any body",
        )  # fmt: skip


def claim(root: Path) -> None:
    """Mark a new dataset folder as ours; refuse a tree without the mark, whose frames rendering would replace."""
    # sequences first, then the mark: another subject's job may make both in between, in the other order
    holds_sequences = root.is_dir() and any(parse_folder(entry.name) for entry in root.iterdir())
    mark = root / "truth" / "rendered.txt"
    if holds_sequences and not mark.is_file():
        raise DataError(
            "The folder holds a dataset tree that was not rendered here; rendering would replace its frames.",
            where=root,
            expected="a new folder, or one that an earlier run rendered",
            mend="set dataset.kind to tree to read it, or dataset.root to another folder to render",
        )
    if not mark.is_file():
        write_text(mark, "PoseMill rendered this dataset tree, and may replace its frames when the config changes.\n")


@lru_cache(maxsize=1)
def _session(job: Job) -> Session:
    return open_session(
        load_body(job.body), job.subject, seed=job.config.seed, size=job.config.image_size, cameras=job.cameras
    )


def _render(job: Job, sequence: tuple[int, int]) -> Truth:
    """Perform and film one sequence with all cameras, unless its frames are there."""
    act, subact = sequence
    session, config = _session(job), job.config
    take = perform(session, act, subact, frames=config.frames, fps=config.fps)
    name = f"act_{act:02d}_subact_{subact:02d}"
    folders = {camera: Folder(job.subject, act, subact, camera) for camera in job.cameras}
    marker = job.root / "truth" / f".S{job.subject}" / f"{name}.json"
    there = _is_complete(job, folders.values(), marker)
    if not there:
        marker.unlink(missing_ok=True)
        for folder in folders.values():
            _clear(job.root / folder.name)
        for frame in range(config.frames):
            for camera, (image, mask) in film(session, take, frame, salt=100 * act + subact).items():
                _write_frame(job, folders[camera], frame + 1, image, mask)
        for camera, folder in folders.items():
            _write_meta(job, session, take, camera, folder)
        write_json(marker, {"digest": job.digest})
    return Truth(name, take.pose_rad, take.transl_m, there)


def _is_complete(job: Job, folders: Iterable[Folder], marker: Path) -> bool:
    try:
        if json.loads(marker.read_text(encoding="utf-8")) != {"digest": job.digest}:
            return False
    except (OSError, ValueError):
        return False
    folders = list(folders)
    wanted = list(range(1, job.config.frames + 1))
    return all(
        (job.root / folder.name / META).is_file()
        and list_frames(job.root / folder.name, folder.name, suffix).tolist() == wanted
        for folder in folders
        for suffix in (FRAME_SUFFIX, MASK_SUFFIX)
    )


def _clear(folder: Path) -> None:
    """Remove what an earlier config left: a longer sequence's frames must not stay behind."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in (FRAME_SUFFIX, MASK_SUFFIX):
        for frame in list_frames(folder, folder.name, suffix):
            (folder / f"{folder.name}_{frame:06d}{suffix}").unlink()
    (folder / META).unlink(missing_ok=True)


def _write_frame(job: Job, folder: Folder, frame: int, image: ndarray, mask: ndarray) -> None:
    # no fsync: the marker, written after all frames, says that they are complete
    quality = [cv2.IMWRITE_JPEG_QUALITY, job.config.jpeg_quality]
    _, jpeg = cv2.imencode(FRAME_SUFFIX, image[..., ::-1], quality)
    folder.file(job.root, frame).write_bytes(jpeg.tobytes())
    _, png = cv2.imencode(MASK_SUFFIX, mask, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    folder.file(job.root, frame, MASK_SUFFIX).write_bytes(png.tobytes())


def _write_meta(job: Job, session: Session, take: Take, camera: int, folder: Folder) -> None:
    seen = session.views[camera].camera
    write_meta(
        job.root / folder.name,
        pose3d_world_mm=take.joints_world_mm,
        R=seen.R,
        T_mm=seen.T_mm,
        f_px=seen.f_px,
        c_px=seen.c_px,
        width=seen.size,
        height=seen.size,
    )


def _write_truth(output: Path, betas: Float[ndarray, "10"], body: str, digest: str, truths: Sequence[Truth]) -> None:
    with create_h5(output, format_name=FORMAT) as file:
        file.attrs["digest"], file.attrs["body"] = digest, body
        file["betas"] = np.asarray(betas, np.float32)
        for truth in truths:
            group = file.create_group(truth.name)
            group["pose_rad"], group["transl_m"] = truth.pose_rad, truth.transl_m
