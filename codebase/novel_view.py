"""`novel-view`: one frame seen by a camera that goes round the person, as a film and as a strip of pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from numpy import ndarray
from torch import Tensor

from codebase.config import Config
from codebase.data.frame_names import frame_name, parse_frame, row_of
from codebase.data.store import CropStore
from codebase.errors import DataError, UserError
from codebase.models.encoder_decoder import EncoderDecoder, rotate
from codebase.orbit import Axis, azimuths_from, latent_rotation, through, turntable
from codebase.paths import Paths
from codebase.report.film import check_suffix, write_film
from codebase.report.picture_file import write_picture
from codebase.report.pictures import enlarge
from codebase.report.view_strip import Cell, strip
from codebase.training.encoders import load_enc_dec
from codebase.training.novel_views import as_image
from codebase.training.precision import autocast, place
from codebase.training.runtime import prepare

Background = Literal["grey", "white", "black", "room"]
PLAIN = {"grey": 0.5, "white": 1.0, "black": 0.0}
BACKGROUNDS: tuple[Background, ...] = ("grey", "white", "black", "room")
Image = UInt8[ndarray, "size size 3"]
FPS, SHOWN, COLUMNS, CELL_PX, FILM_PX, BATCH = 16, 12, 6, 150, 320, 16


@dataclass(frozen=True)
class Orbit:
    """How the virtual camera goes.

    Attributes:
        frames: of a whole turn.
        axis: what it turns about.
        elevation_deg: how far it has risen half way round the vertical.
        through_cameras: pass through the frame's real cameras instead of keeping height.
    """

    frames: int = 48
    axis: Axis = "vertical"
    elevation_deg: float = 0.0
    through_cameras: bool = False


def novel_view(
    config: Config,
    *,
    at: str,
    say: Callable[[str], None],
    orbit: Orbit = Orbit(),
    background: Background = "grey",
    appearance_of: str | None = None,
    checkpoint: Path | None = None,
    output: Path | None = None,
    sheet: Path | None = None,
) -> None:
    """Paint a whole turn about the person of one frame, and write it as a film and as a strip.

    Args:
        config: whose crops and encoder-decoder are taken.
        at: the frame, such as S9/act_02_subact_01/ca_03/20.
        background: what stands behind the person. A virtual camera's room is not known: a plain colour, or the source's
            own, which does not turn.
        appearance_of: a frame in whose clothes the person is painted.
        checkpoint: of the config's enc_dec; by default the one that the workflow makes.
        output: GIF or mp4; by default in the run's folder.
        sheet: PNG or JPEG; by default beside the film.

    Raises:
        UserError: an option that says nothing.
        DataError: no such frame, or a checkpoint of another network or another size of crops.
    """
    _check(orbit)
    store = _store(config, at, "--at")
    row = row_of(store, at)
    output = output or Paths(config).run_dir("enc_dec") / f"{_stem(frame_name(store.columns, row))}.gif"
    sheet = sheet or output.with_suffix(".png")
    check_suffix(output)
    check_suffix(sheet, (".png", ".jpg"))
    painter = Painter.of(config, store, checkpoint or Paths(config).checkpoint("enc_dec"))
    dressed = (store, row)
    if appearance_of:
        other = _store(config, appearance_of, "--appearance-of")
        dressed = other, row_of(other, appearance_of, "--appearance-of")
    points, appearance = painter.encode(row), painter.appearance(*dressed)
    cameras = _cameras(store, row)
    path, stops = _path(store.R_world_im[cameras], orbit)
    source = store.R_world_im[row]
    film = painter.paint(points, appearance, latent_rotation(path, source), painter.behind(row, background))
    side = max(FILM_PX, store.size + store.size % 2)
    write_film(output, [enlarge(image, side) for image in film], fps=FPS)
    clothes = f", in the clothes of {frame_name(dressed[0].columns, dressed[1])}" if appearance_of else ""
    rows = _camera_rows(painter, cameras, points, appearance, clothes)
    level = orbit.axis == "vertical"
    met = {step: f" ca_{store.camera[camera]:02d}" for step, camera in zip(stops, cameras.tolist(), strict=False)}
    rows.append((_heading(orbit, background), _turn_cells(film, path, met, level=level)))
    write_picture(sheet, strip(rows, side_px=CELL_PX, columns=max(COLUMNS, len(cameras))))
    say(f"wrote {output} ({len(film)} views) and {sheet}")


def _check(orbit: Orbit) -> None:
    if orbit.frames < 2:
        raise UserError(f"{orbit.frames} views are no turn.", where="--frames", expected="at least 2")
    if orbit.axis != "vertical" and (orbit.elevation_deg or orbit.through_cameras):
        raise UserError(
            f"The camera turns about the {orbit.axis} axis and shall rise or meet the other cameras.",
            where="--axis", expected="--axis vertical with --elevation or --through-cameras",
        )  # fmt: skip
    if orbit.through_cameras and orbit.elevation_deg:
        raise UserError("Either the cameras or --elevation say how high the camera goes.", where="--through-cameras")


def _store(config: Config, at: str, where: str) -> CropStore:
    wanted = parse_frame(at, where)
    if "subject" not in wanted:
        raise DataError(f"{at} names no subject.", where=where, expected=f"S9/{at}")
    known = config.split.subjects
    if wanted["subject"] not in known:
        raise DataError(
            f"The config knows no subject {wanted['subject']}.", where=where,
            expected="one of " + ", ".join(f"S{subject}" for subject in sorted(known)),
        )  # fmt: skip
    return CropStore([Paths(config).crops(wanted["subject"])])


def _stem(name: str) -> str:
    return "view_" + name.replace("/", "_")


def _cameras(store: CropStore, row: int) -> Int64[ndarray, " cameras"]:
    """Rows of the frame's instant: the frame itself, then the other cameras, counter-clockwise from above."""
    others = np.flatnonzero((store.instant == store.instant[row]) & (np.arange(len(store)) != row))
    ahead = np.array(azimuths_from(store.R_world_im[row], list(store.R_world_im[others]))) % 360
    return np.concatenate([[row], others[np.argsort(ahead, kind="stable")]]).astype(np.int64)


def _path(keys: Float[ndarray, "cameras 3 3"], orbit: Orbit) -> tuple[Float[ndarray, "views 3 3"], list[int]]:
    """R_world_im of the film's views, and at which of them real cameras stand."""
    if not orbit.through_cameras:
        return turntable(
            keys[0], orbit.frames, axis=orbit.axis, elevation_rad=float(np.radians(orbit.elevation_deg))
        ), [0]
    if len(keys) < 2:
        raise UserError("No other camera saw this frame.", where="--through-cameras", mend="leave it out")
    if orbit.frames < len(keys):
        raise UserError(
            f"{orbit.frames} views cannot meet {len(keys)} cameras.", where="--frames", expected=f"{len(keys)} or more"
        )
    return through(keys, orbit.frames)


def _heading(orbit: Orbit, background: str) -> str:
    how = "through the cameras" if orbit.through_cameras else f"about the {orbit.axis} axis"
    rise = f", rising by {orbit.elevation_deg:g} deg half way" if orbit.elevation_deg else ""
    behind = "the source's room, which stands still" if background == "room" else background
    return f"the camera goes {how}{rise}; background: {behind}"


def _camera_rows(
    painter: Painter, cameras: Int64[ndarray, " cameras"], points: Tensor, appearance: Tensor, clothes: str
) -> list[tuple[str, list[Cell]]]:
    """What the cameras of the instant saw, and the same painted from the source, each before its own room."""
    store = painter.store
    views, seen = store.R_world_im[cameras], store.gather(cameras, ("image",))["image"].numpy()
    painted = painter.paint(points, appearance, latent_rotation(views, views[0]), painter.empty(cameras))
    ahead = azimuths_from(views[0], list(views))
    titles = [
        f"ca_{camera:02d} " + (f"{angle:+.0f} deg" if place else "(source)")
        for place, (camera, angle) in enumerate(zip(store.camera[cameras].tolist(), ahead, strict=True))
    ]
    return [
        (f"{frame_name(store.columns, int(cameras[0]))}: what the cameras saw", _cells(titles, seen)),
        (f"the same views, painted from the source{clothes}", _cells(titles, painted)),
    ]


def _turn_cells(
    film: UInt8[ndarray, "views size size 3"], path: Float[ndarray, "views 3 3"], met: dict[int, str], *, level: bool
) -> list[Cell]:
    """Some of the film's views, evenly, and all at which a real camera stands.

    Args:
        met: by step of the film, the camera there.
        level: angles are azimuths from the source; otherwise shares of the whole turn.
    """
    shown = sorted({*np.linspace(0, len(film), SHOWN, endpoint=False).astype(int).tolist(), *met})
    angles = azimuths_from(path[0], list(path[shown])) if level else (np.array(shown) / len(film) * 360).tolist()
    titles = [f"{round(angle) % 360} deg{met.get(step, '')}" for step, angle in zip(shown, angles, strict=True)]
    return _cells(titles, film[shown])


def _cells(titles: list[str], images: UInt8[ndarray, "views size size 3"]) -> list[Cell]:
    return [Cell(title, image) for title, image in zip(titles, images, strict=True)]


class Painter:
    """An encoder-decoder and the crops of the frame that it paints anew."""

    def __init__(self, net: EncoderDecoder, store: CropStore, precision: str, device: torch.device) -> None:
        self.net, self.store, self.precision, self.device = net, store, precision, device

    @classmethod
    def of(cls, config: Config, store: CropStore, checkpoint: Path) -> Painter:
        """The network of a checkpoint, if it is the config's and was trained on crops of this size."""
        device = prepare(config.runtime, 0)
        where = f"crops of {store.size} px"
        net, found = load_enc_dec(checkpoint, config.enc_dec, store.size, crops=where)
        return cls(place(net, device), store, found.config["precision"], device)

    def encode(self, row: int) -> Float[Tensor, "1 points 3"]:
        """L_3d of a row."""
        return self._latent(self.store, row).points

    def appearance(self, store: CropStore, row: int) -> Float[Tensor, "1 appearance"]:
        """L_app of a row of any crops of this size.

        Raises:
            DataError: the crops have another size.
        """
        if store.size != self.store.size:
            raise DataError(
                f"The appearance comes from crops of {store.size} px, the frame from {self.store.size} px.",
                where="--appearance-of", mend="run the stage crops again for both subjects",
            )  # fmt: skip
        return self._latent(store, row).appearance

    @torch.inference_mode()
    def _latent(self, store: CropStore, row: int) -> Any:  # noqa: ANN401 - each kind of network has its own class
        seen = store.gather(np.array([row]), ("image", "background"))
        with autocast(self.precision, self.device):  # type: ignore[arg-type]
            return self.net.encoder(*(as_image(seen[name].to(self.device)) for name in ("image", "background")))

    def behind(self, row: int, background: Background) -> Float[Tensor, "1 3 size size"]:
        """What stands behind the person in every view."""
        if background == "room":
            return self.empty(np.array([row]))
        return torch.full((1, 3, self.store.size, self.store.size), PLAIN[background], device=self.device)

    def empty(self, rows: Int64[ndarray, " rows"]) -> Float[Tensor, "rows 3 size size"]:
        """The rooms behind the crops."""
        return as_image(self.store.gather(rows, ("background",))["background"].to(self.device))

    @torch.inference_mode()
    def paint(
        self,
        points: Float[Tensor, "1 points 3"],
        appearance: Float[Tensor, "1 appearance"],
        rotations: Float[ndarray, "views 3 3"],
        behind: Float[Tensor, "_ 3 size size"],
    ) -> UInt8[ndarray, "views size size 3"]:
        """What other cameras see of a latent, RGB.

        Args:
            rotations: of the latent into their frames (`orbit.latent_rotation`).
            behind: one background for each, or one for all.
        """
        turns = torch.from_numpy(rotations.astype(np.float32)).to(self.device)
        behind = behind.expand(len(turns), -1, -1, -1)
        painted = []
        for some in torch.arange(len(turns), device=self.device).split(BATCH):
            turned = rotate(points.expand(len(some), -1, -1), turns[some])
            with autocast(self.precision, self.device):  # type: ignore[arg-type]
                image = self.net.decoder(turned, appearance.expand(len(some), -1), behind[some]).image
            painted.append((255 * image.float().clamp(0, 1)).round().byte().permute(0, 2, 3, 1).cpu())
        return torch.cat(painted).numpy()
