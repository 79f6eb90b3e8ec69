"""Claim: L_3d tells the pose and little of the looks, L_app the looks and little of the pose.

    python -m benchmarks.disentangle CONFIG [CONFIG ...] [--sequences 16] [--outfits 4] [--output FOLDER]

Each CONFIG is a finished run, up to embed (and train_pose, for errors of poses) of its representation; all on the
same rendered data, whose frames the first one names. Some instants of the test split are rendered again in the
clothes of other people, and again under other light: same body, pose and camera. Encoders see both; what moves in the
codes and in the poses is measured, and how well one of the outfits is read from each code. The figures of the stage
evaluate stand beside them. The rendered base must equal the stored frames, or there is an error.

Writes table.md, figures.json and pairs.png (what was rendered) to FOLDER, default {root}/disentangle.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy import ndarray

from benchmarks.command import log_to_terminal, use_threads
from benchmarks.runs import store_of
from benchmarks.tables import markdown
from codebase.body.arrays import load_body
from codebase.config import Config, read_config
from codebase.data.batches import in_turn
from codebase.data.human36m import read_frame
from codebase.data.lens import Lens, cut_straight
from codebase.data.resample import after_reduction, reduction
from codebase.data.store import CropStore
from codebase.errors import DataError, UserError
from codebase.files import write_json, write_text
from codebase.models.encoder_decoder import restore
from codebase.paths import Paths
from codebase.stages._representation import pose_of
from codebase.synthetic.capture import Session, Take, film, open_session, perform, with_what_hangs
from codebase.synthetic.variations import in_clothes_of, in_light
from codebase.training.disentangle import PREFIX, Codes, Shown, disentanglement, encode, moved
from codebase.training.novel_views import as_image
from codebase.training.precision import place
from codebase.training.probes import read_class, with_lengths
from codebase.training.state import load_checkpoint

WARDROBE = (101, 102, 103, 104, 105)  # numbers of people whose clothes are lent; nobody of them was ever trained on
LARGEST_DIFFERENCE = 0.5  # grey levels, mean over the crops: what rendering again may differ by
log = logging.getLogger("posemill.disentangle")
Crops = UInt8[ndarray, "rows size size 3"]


@dataclass(frozen=True)
class Rendered:
    """Crops of the same rows of the store, as they are and with one thing changed.

    Attributes:
        rows: of the store.
        still: the empty room as rendered, for `image` and for light alone; `relit_still` that of `relit`.
        clothes: by whose they are.
    """

    rows: Int64[ndarray, " rows"]
    image: Crops
    background: Crops
    still: Crops
    relit: Crops
    relit_still: Crops
    clothes: dict[int, Crops]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", type=Path, nargs="+", metavar="CONFIG")
    parser.add_argument(
        "--sequences", type=int, default=16, help="of which one instant each is rendered, by all cameras"
    )
    parser.add_argument("--outfits", type=int, default=4, choices=range(2, len(WARDROBE) + 1))
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="of all configs")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    log_to_terminal()
    configs = [read_config(path, options.set) for path in options.configs]
    use_threads(configs[0].runtime.threads)
    store = store_of(configs[0], "test")
    begun = time.monotonic()
    rendered = render(configs[0], store, options.sequences, WARDROBE[: options.outfits])
    frames = len(rendered.rows) * (2 + options.outfits)
    log.info("%d frames rendered in %.0f s", frames, time.monotonic() - begun)
    folder = options.output or Paths(configs[0]).root / "disentangle"
    cv2_write(folder / "pairs.png", sheet(rendered))
    found = {name: figures(config, store, rendered) for name, config in zip(columns(configs), configs, strict=True)}
    write_json(folder / "figures.json", found)
    text = table(found)
    write_text(folder / "table.md", text)
    print(text)


def columns(configs: list[Config]) -> list[str]:
    """A name of its own for each: of its encoder-decoder, and of its run where two have the same.

    Raises:
        UserError: the same representation is named twice.
    """
    names = [config.enc_dec.name for config in configs]
    if len(set(names)) < len(names):
        names = [f"{config.name}: {config.enc_dec.name}" for config in configs]
    if len(set(names)) < len(names):
        raise UserError("Two configs have the same names.", where="CONFIG", expected="runs that differ in name")
    return names


def render(config: Config, store: CropStore, sequences: int, wardrobe: tuple[int, ...]) -> Rendered:
    """One instant of some sequences, evenly over the test split, in every variant.

    Raises:
        UserError: the dataset is not rendered.
        DataError: the frames that lie there are others than the config's.
    """
    if config.dataset.kind != "synthetic":
        raise UserError("Clothes and light can be changed of rendered people alone.", where="dataset.kind")
    chosen = instants(store, sequences)
    body = load_body(config.dataset.body)
    parts: dict[str, list[ndarray]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        cutter = Cutter(config, store, Path(scratch))
        for subject in np.unique(store.subject[chosen]).tolist():
            section = config.synthesize
            session = open_session(
                body, subject, seed=section.seed, size=section.image_size, cameras=config.dataset.cameras
            )
            sessions = {str(other): in_clothes_of(session, other) for other in wardrobe}
            sessions |= {"image": session, "relit": in_light(session, 0)}
            for name, values in _variants(config, cutter, session, sessions, chosen[store.subject[chosen] == subject]):
                parts.setdefault(name, []).append(values)
    made = {name: np.stack(values) for name, values in parts.items()}
    stored = store.gather(chosen, ("image", "background"))
    difference = float(np.abs(made.pop("image").astype(float) - stored["image"].numpy()).mean())
    if difference > LARGEST_DIFFERENCE:
        raise DataError(
            f"What is rendered differs from the stored crops by {difference:.1f} grey levels.",
            expected="frames that were rendered with the first config's section synthesize",
        )
    log.info("rendered again, crops differ from the stored ones by %.3f grey levels", difference)
    still, relit, relit_still = (made.pop(name) for name in ("still", "relit", "relit_still"))
    clothes = {int(name): values for name, values in made.items()}
    return Rendered(chosen, stored["image"].numpy(), stored["background"].numpy(), still, relit, relit_still, clothes)


def _variants(
    config: Config, cutter: Cutter, session: Session, sessions: dict[str, Session], rows: ndarray
) -> Iterator[tuple[str, ndarray]]:
    """Name and crop of every variant of the rows of one subject; rows of an instant follow one another."""
    store, section = cutter.store, config.synthesize
    take: Take | None = None
    before = None
    for row in rows.tolist():
        act, subact, frame = (int(store.columns[name][row]) for name in ("action", "subaction", "frame"))
        if (act, subact, frame) != before:
            take = perform(session, act, subact, frames=section.frames, fps=section.fps)
            shots = {
                name: film(variant, with_what_hangs(variant, take), frame - 1, salt=100 * act + subact)
                for name, variant in sessions.items()
            }
            before = (act, subact, frame)
        camera = int(store.camera[row])
        for name, shot in shots.items():
            yield name, cutter(shot[camera][0], row)
        for name, lit in (("still", session), ("relit_still", sessions["relit"])):
            yield name, cutter(np.clip(np.rint(lit.views[camera].still), 0, 255).astype(np.uint8), row)


def instants(store: CropStore, sequences: int) -> Int64[ndarray, " rows"]:
    """Rows (all cameras) of the middle instant of some sequences, evenly over all."""
    sequence = (store.subject.astype(np.int64) * 100 + store.action) * 100 + store.subaction
    known = np.unique(sequence)
    chosen = known[np.unique(np.linspace(0, len(known) - 1, min(sequences, len(known))).round().astype(int))]
    rows = []
    for number in chosen:
        mine = np.flatnonzero(sequence == number)
        middle = store.instant[mine[len(mine) // 2]]
        rows.append(mine[store.instant[mine] == middle])
    return np.concatenate(rows)


class Cutter:
    """Crops of rendered frames as the stage crops cuts them: through a JPEG of the config's quality."""

    def __init__(self, config: Config, store: CropStore, scratch: Path) -> None:
        self.store, self._quality, self._path = store, config.synthesize.jpeg_quality, scratch / "frame.jpg"

    def __call__(self, frame: UInt8[ndarray, "height width 3"], row: int) -> UInt8[ndarray, "size size 3"]:
        """The crop of a row of the store."""
        affine = self.store.crop_from_image[row]
        lens = Lens(tuple(self.store.f_px[row].tolist()), tuple(self.store.c_px[row].tolist()), (0.0,) * 5)
        factor = reduction(affine)
        cv2.imwrite(str(self._path), frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, self._quality])
        whole = read_frame(self._path, reduce=factor)
        return cut_straight(whole, after_reduction(affine, factor), self.store.size, lens, factor, repeat_border=True)


def figures(config: Config, store: CropStore, rendered: Rendered) -> dict[str, float]:
    """All figures of the representation of a config."""
    paths = Paths(config)
    found = load_checkpoint(paths.checkpoint("enc_dec"))
    net = place(restore(found.config, found.model, store.size), torch.device("cpu"))
    precision = found.config["precision"]
    pose = pose_of(paths.checkpoint("pose")) if paths.checkpoint("pose").is_file() else None
    measured = disentanglement(net, store, pose=pose, precision=precision)

    def codes(image: Crops, background: Crops) -> Codes:
        pictures = (
            (as_image(torch.from_numpy(image[rows])), as_image(torch.from_numpy(background[rows])))
            for rows in in_turn(np.arange(len(image)), 128)
        )
        return encode(net, pictures, precision)

    shown = Shown.of(store).take(rendered.rows)
    before = codes(rendered.image, rendered.background)
    dressed = {name: codes(image, rendered.background) for name, image in rendered.clothes.items()}
    changes = [moved("clothing", before, after, shown, pose) for after in dressed.values()]
    measured |= {name: float(np.mean([change[name] for change in changes])) for name in changes[0]}
    lit, relit = codes(rendered.image, rendered.still), codes(rendered.relit, rendered.relit_still)
    return measured | moved("light", lit, relit, shown, pose) | outfits(dressed, shown)


def outfits(dressed: dict[int, Codes], shown: Shown) -> dict[str, float]:
    """How often the outfit is read rightly from each code, and by chance."""
    count = len(dressed)
    label = np.repeat(np.arange(count), len(shown.subject))
    subject, sequence = np.tile(shown.subject, count), np.tile(shown.sequence, count)
    together = Codes(*(np.concatenate([getattr(c, name) for c in dressed.values()]) for name in ("L_3d", "L_app")))
    found = {f"{PREFIX}outfit_chance": 1 / count}
    for name, features in (("l_3d", with_lengths(together.L_3d)), ("l_app", together.L_app)):
        right = read_class(features, label, subject, sequence)
        if right is not None:
            found[f"{PREFIX}outfit_from_{name}"] = right
    return found


def table(found: dict[str, dict[str, float]]) -> str:
    """Markdown: a row a figure, a column a representation."""
    names = list(dict.fromkeys(name for values in found.values() for name in values))
    rows = []
    for name in names:
        digits = 1 if name.endswith("_mm") else 3
        cells = (f"{values[name]:.{digits}f}" if name in values else "" for values in found.values())
        rows.append([name.removeprefix(PREFIX), *cells])
    return markdown(["figure", *found], rows)


def sheet(rendered: Rendered, count: int = 8) -> UInt8[ndarray, "height width 3"]:
    """Some rows: as it is, in other clothes, under other light, and the empty rooms."""
    rows = np.linspace(0, len(rendered.rows) - 1, count).round().astype(int)
    kinds = [rendered.image, *rendered.clothes.values(), rendered.relit, rendered.still, rendered.relit_still]
    return np.concatenate([np.concatenate([kind[row] for kind in kinds], axis=1) for row in rows], axis=0)


def cv2_write(path: Path, image: UInt8[ndarray, "height width 3"]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1])


if __name__ == "__main__":
    main()
