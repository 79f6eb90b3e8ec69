"""Claim: what was found on the test subjects holds for people by whom nothing was chosen.

    python -m benchmarks.new_people CONFIG [key=value ...] [--people 31 42] [--pose FILE ...] [--smpl FILE ...]

Renders synthetic people whom CONFIG does not know, as its own are rendered but for acts, frames and frames a second
(options), and measures on them: novel views of the run's encoder-decoder, poses, and bodies. Networks are those of the
run of CONFIG, or the files named: several are seeds of one, and means over them are given, with their deviation.

It all lies in {root}/new_people, or new_people in the folder that --results names; sequences that are rendered already
are kept. Figures are in table.md and figures.json there.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.ablate_smpl import judged_split, measured
from benchmarks.command import config_parser, configured
from benchmarks.runs import codes_of, enc_dec_of, joints, store_of
from benchmarks.tables import cell, markdown
from codebase.body.model import BodyLayer, load_body
from codebase.config import Config, validate_config
from codebase.data.batches import in_turn
from codebase.data.bodies import Bodies
from codebase.data.latents import latents_of, mirrored_of
from codebase.errors import ConfigError
from codebase.files import write_json, write_text
from codebase.models import pose, smpl
from codebase.paths import Paths
from codebase.stages import backgrounds, crops, embed, index, synthesize
from codebase.training.encoders import require_same_encoder
from codebase.training.pose_figures import pose_figures
from codebase.training.state import load_checkpoint
from codebase.training.view_errors import measure, ordered_pairs

# key, heading, digits
ROWS = (
    ("gain_db", "novel views, foreground PSNR above the empty room, dB", 2),
    ("n_mpjpe_mm", "poses: N-MPJPE, mm", 1),
    ("mpjpe_mm", "MPJPE, mm", 1),
    ("pa_mpjpe_mm", "PA-MPJPE, mm", 1),
    ("mean_pose_n_mpjpe_mm", "N-MPJPE of the labelled subjects' mean pose, mm", 1),
    ("body/pve_mm", "bodies: PVE, mm", 1),
    ("body/pve_facing_camera_mm", "PVE of people who face the camera, mm", 1),
    ("body/pve_facing_away_mm", "PVE of people who face away, mm", 1),
    ("body/away_to_facing", "the latter to the former", 2),
    ("body/heading_error_deg", "heading off by, degrees", 1),
)
CHUNK = 256
log = logging.getLogger("posemill.new_people")


def main() -> None:
    parser = config_parser(__doc__)
    parser.add_argument("--people", type=int, nargs=2, default=(31, 42), metavar=("FIRST", "LAST"))
    parser.add_argument(
        "--acts", type=int, nargs="+", default=[2, 4, 6, 9, 14], help="of one alone the empty room shows the person"
    )
    parser.add_argument("--frames", type=int, default=10, help="of each sequence")
    parser.add_argument("--fps", type=float, default=2.5)
    parser.add_argument("--enc-dec", type=Path, metavar="FILE")
    parser.add_argument("--pose", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--smpl", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--results", type=Path, metavar="DIR")
    run, options = configured(parser)
    paths, first_last = Paths(run), tuple(options.people)
    encoder = options.enc_dec or paths.checkpoint("enc_dec")
    config = strangers(run, first_last, options, load_checkpoint(encoder).digest)
    prepare(config)
    embedded(config, encoder)
    found = {
        **views(config, encoder),
        **poses(config, options.pose or [paths.checkpoint("pose")]),
        **bodies(config, options.smpl or [paths.checkpoint("smpl")]),
    }
    folder = Paths(config).root
    write_json(folder / "figures.json", found)
    write_text(folder / "table.md", text := table(found))
    print(text)


def strangers(run: Config, people: tuple[int, ...], options: argparse.Namespace, encoder: str) -> Config:
    """A config whose test split are people that `run` does not know; embeddings are named after their encoder."""
    numbers = tuple(range(people[0], people[1] + 1))
    if not numbers:
        raise ConfigError(f"S{people[0]} to S{people[1]} is nobody.", where="--people", expected="FIRST, then LAST")
    if known := sorted(set(numbers) & set(run.dataset.subjects)):
        raise ConfigError(
            f"S{known[0]} is in the config.", where="--people", expected="numbers that dataset.subjects does not have"
        )
    train, val = run.split.train.subjects[0], run.split.val.subjects[0]
    own = run.model_dump()
    own["dataset"] |= {"kind": "synthetic", "root": None, "masks_root": None, "bodies": None}
    own["dataset"] |= {"subjects": (train, val, *numbers), "acts": options.acts, "subacts": (1,)}
    for name, subjects in (("train", (train,)), ("val", (val,)), ("test", numbers)):
        own["split"][name] = {"subjects": subjects, "every": 1}
    own["synthesize"] |= {"frames": options.frames, "fps": options.fps}
    own["backgrounds"] |= {"every": 1}  # there are few frames
    own["enc_dec"] |= {"name": f"enc_dec_{encoder[:12]}"}
    results = options.results or Paths(run).root
    own |= {"name": "new_people", "results": results, "data_from": None, "rivals": {}, "labels": {}}
    for stage in ("pose", "image_pose", "smpl", "hmr"):
        own[stage] |= {"label_subjects": (train,)}
    return validate_config(Config, own, where="the config of new people")


def prepare(config: Config) -> None:
    """Render the people, and cut their crops."""
    paths, people = Paths(config), config.split.test.subjects
    for subject in people:
        synthesize.run(config, subject=subject, output=paths.truth(subject))
    index.run(config, output_test=paths.index("test"))
    for subject in people:
        empty = paths.background(subject)
        backgrounds.run(config, subject=subject, output=empty)
        crops.run(
            config, subject=subject, index=[paths.index("test")], background=empty, output=paths.crops(subject)
        )  # fmt: skip
        log.info("S%d: rendered, crops cut", subject)


def embedded(config: Config, checkpoint: Path) -> None:
    """Embed the people."""
    paths = Paths(config)
    for subject in config.split.test.subjects:
        embed.run(config, checkpoint=checkpoint, crops=paths.crops(subject), output=paths.embeddings(subject))


def views(config: Config, file: Path) -> dict[str, list[float]]:
    """How well the encoder-decoder paints them from other cameras."""
    net, store = enc_dec_of(config, file), store_of(config, "test")
    found = measure(net, store, *ordered_pairs(store, config.enc_dec.validation_pairs)).summary()
    return {"gain_db": [found["psnr_foreground_db"] - found["psnr_background_only_db"]]}


@torch.inference_mode()
def poses(config: Config, files: Sequence[Path]) -> dict[str, list[float]]:
    """Errors of their poses, of each network.

    Raises:
        DataError: one learned from embeddings of another encoder.
    """
    store, codes = store_of(config, "test"), codes_of(config, "test")
    latents = [torch.from_numpy(each) for each in (latents_of(codes, store.key)[0], mirrored_of(codes, store.key))]
    found: dict[str, list[float]] = {}
    for file in files:
        checkpoint = load_checkpoint(file)
        require_same_encoder(checkpoint, file, codes)
        net = pose.restore(checkpoint.config, checkpoint.part("pose"))
        seen, mean = joints(net, *latents).astype(np.float64), checkpoint.extra["mean_joints_im_mm"].numpy()
        for name, value in pose_figures(seen, store.joints_im_mm.astype(np.float64), mean).items():
            found.setdefault(name, []).append(value)
    return found


@torch.inference_mode()
def bodies(config: Config, files: Sequence[Path]) -> dict[str, list[float]]:
    """Errors of their bodies, of each head.

    Raises:
        DataError: one learned from embeddings of another encoder.
    """
    layer = BodyLayer(load_body(config.dataset.body))
    judged = judged_split(config, layer, "test")
    codes = (judged.samples.L_3d, judged.samples.L_3d_mirrored, judged.samples.L_app)
    found: dict[str, list[float]] = {}
    for file in files:
        checkpoint = load_checkpoint(file)
        require_same_encoder(checkpoint, file, codes_of(config, "test"))
        head, turns = smpl.restore(checkpoint.config, checkpoint.part("smpl")), in_turn(judged.rows, CHUNK)
        rotmats, betas = smpl.split(torch.cat([smpl.body_of(head, *(each[rows] for each in codes)) for rows in turns]))
        figures = measured(Bodies(betas.numpy(), rotmats.numpy()), judged, layer)
        halves = [figures[name] for name in ("pve_facing_away_mm", "pve_facing_camera_mm") if name in figures]
        if len(halves) == 2:  # else nobody faces that way
            figures["away_to_facing"] = halves[0] / halves[1]
        for name, value in figures.items():
            found.setdefault(f"body/{name}", []).append(value)
    return found


def table(found: dict[str, list[float]]) -> str:
    """A row a figure: the mean over networks, their deviation where there are several, and their number."""
    rows = [
        [heading, cell(values, digits), str(len(values))]
        for key, heading, digits in ROWS
        if (values := found.get(key, []))
    ]
    return markdown(["people by whom nothing was chosen", "figure", "networks"], rows)


if __name__ == "__main__":
    main()
