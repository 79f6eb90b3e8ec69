"""Where artefacts lie. Shared by the workflow and the command line; free of heavy imports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from codebase.config import Config, Point, point_section

# doors of the stage `extract` whose sources hold SMPL parameters
DOORS_WITH_BODIES = ("course",)


@dataclass(frozen=True)
class Paths:
    """Paths of one run; `subject` may be a number or a Snakemake wildcard such as "{subject}"."""

    config: Config

    @property
    def root(self) -> Path:
        return self.config.results / self.config.name

    @property
    def data_root(self) -> Path:
        """Where dataset, backgrounds, index and crops lie: here, or in the run that `data_from` names."""
        return self.config.data_from or self.root

    @property
    def dataset(self) -> Path:
        return self.config.dataset.root or self.data_root / "dataset"

    @property
    def masks(self) -> Path:
        return self.config.dataset.masks_root or self.dataset

    @property
    def bodies(self) -> Path | None:
        """Folder of S{n}.h5 with SMPL parameters, or None where a tree has none."""
        if self.config.dataset.bodies is not None or self.config.dataset.kind == "tree":
            return self.config.dataset.bodies
        if self.config.dataset.kind == "extract":
            return self.dataset / "bodies" if self.extracts_bodies else None
        return self.dataset / "truth"

    @property
    def extracts_bodies(self) -> bool:
        """Whether the stage `extract` also writes SMPL parameters: its door's source has them."""
        dataset = self.config.dataset
        return dataset.kind == "extract" and dataset.bodies is None and self.config.extract.door in DOORS_WITH_BODIES

    @property
    def fits_bodies(self) -> bool:
        """Whether training and figures use fitted bodies: where the dataset has none, or the config says so."""
        use = self.config.fit_bodies.use
        return use == "always" or (use == "auto" and self.bodies is None)

    @property
    def measures_fits(self) -> bool:
        """Whether bodies are fitted to test subjects to be compared with the dataset's own."""
        section = self.config.fit_bodies
        return section.use != "never" and self.bodies is not None and (self.fits_bodies or section.measure_every > 0)

    @property
    def fitted_subjects(self) -> tuple[int, ...]:
        """Subjects to whom bodies are fitted: all, or the test subjects where fits are but measured, or nobody."""
        if self.fits_bodies:
            return tuple(self.config.split.subjects)
        return tuple(self.config.split.test.subjects) if self.measures_fits else ()

    @property
    def label_bodies(self) -> Path | None:
        """Folder of S{n}.h5 of which train_hmr learns: fitted ones, the dataset's, or None."""
        return self.root / "bodies" if self.fits_bodies else self.bodies

    @property
    def run_config(self) -> Path:
        """The merged config of this run, defaults included."""
        return self.root / "config.yaml"

    def truth(self, subject: int | str) -> Path:
        return self.dataset / "truth" / f"S{subject}.h5"

    def extracted(self, subject: int | str) -> Path:
        """What stands for the extracted frames of a subject: what is there, what was left out and why."""
        return self.dataset / "extracted" / f"S{subject}.json"

    def fitted(self, subject: int | str) -> Path:
        """SMPL parameters fitted to the subject's joints and masks."""
        return self.root / "bodies" / f"S{subject}.h5"

    def background(self, subject: int | str) -> Path:
        return self.data_root / "backgrounds" / f"background_subject{subject}.npy"

    def index(self, split: str) -> Path:
        return self.data_root / f"index_{split}.h5"

    def crops(self, subject: int | str) -> Path:
        return self.data_root / "crops" / f"S{subject}.h5"

    def embeddings(self, subject: int | str) -> Path:
        suffix = {"pickle": ".pkl", "hdf5": ".h5"}[self.config.embed.format]
        return self.root / "embeddings" / self.config.enc_dec.name / f"S{subject}{suffix}"

    def run_dir(self, stage: str) -> Path:
        """Folder of a training run; `stage` is the config's section: enc_dec, pose, prior, smpl or hmr."""
        return self.root / "runs" / getattr(self.config, stage).name

    def checkpoint(self, stage: str) -> Path:
        return self.run_dir(stage) / f"model_{getattr(self.config, stage).steps}.pt"

    @property
    def labels(self) -> Path:
        """Folder of the label sweep: its trainings, what was measured of them, and the curve."""
        return self.root / "labels"

    def point(self, point: Point) -> Path:
        """Checkpoint of one training of the label sweep."""
        return self.labels / point.name / f"model_{point_section(self.config, point).steps}.pt"

    def measured(self, representation: str) -> Path:
        """Errors on the test split of all trainings of a representation."""
        return self.labels / f"{representation}.json"

    @property
    def label_curve(self) -> Path:
        """What the sweep found; the picture lies beside it."""
        return self.labels / "curve.json"

    def rival_config(self, name: str) -> Path:
        """The config of a rival, which its jobs read."""
        return self.root / "rivals" / f"{name}.yaml"

    @property
    def predictions(self) -> Path:
        return self.root / "predictions.h5"

    @property
    def results_csv(self) -> Path:
        return self.root / "results.csv"

    @property
    def meshes(self) -> Path:
        return self.root / "meshes"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    def checked(self, what: str, name: str = "") -> Path:
        """Marker that an artefact of the kind `what` passed its check; `name` where there are several: S9, train."""
        return self.root / "checks" / (f"{what}_{name}.json" if name else f"{what}.json")

    def markers(self, what: str, subjects: Iterable[int] = ()) -> tuple[Path, ...]:
        """The markers of all artefacts of a kind: of some subjects' only where `subjects` names them."""
        if what == "index":
            return tuple(self.checked(what, split) for split in ("train", "val", "test"))
        if what in ("backgrounds", "bodies", "fitted", "crops", "embeddings"):
            return tuple(self.checked(what, f"S{s}") for s in tuple(subjects) or self.config.split.subjects)
        return (self.checked(what),)

    def log(self, rule: str, name: str = "all") -> Path:
        return self.root / "logs" / rule / f"{name}.log"
