"""The jobs of one config's DAG, without Snakemake: rule, subject, output, log. A test holds them against the rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from codebase.config import Config, points, rival_config
from codebase.paths import Paths

NETWORKS = ("enc_dec", "pose", "prior", "smpl", "hmr")
FRAMES = {"synthetic": "synthesize", "extract": "extract"}


@dataclass(frozen=True)
class Task:
    """One job.

    Attributes:
        rule: Snakemake's name of it.
        name: what of it, `S9`, `index` or, of an index, `train`; `all` where there is one.
        output: file that is there when it is done.
        log: of the job.
        run_dir: where a training run says how far it is; None for other stages.
        after: rules whose jobs must be done first.
        wild: its wildcards, where they are no subject or split.
    """

    rule: str
    name: str
    output: Path
    log: Path
    run_dir: Path | None = None
    after: tuple[str, ...] = ()
    wild: str = ""

    @property
    def wildcards(self) -> str:
        """What Snakemake's executors put into a job's name beside the rule; empty for a rule without wildcards."""
        if self.wild:
            return self.wild
        if self.rule == "index":
            return self.name
        return self.name.removeprefix("S") if self.name[1:].isdigit() else ""


def tasks(config: Config) -> list[Task]:
    """All jobs of the DAG in running order."""
    paths = Paths(config)
    found = [] if config.data_from is not None else list(_data(config, paths))
    return [*found, *_networks(config, paths), *_checks(config, paths), *_sweep(config, paths)]


def _data(config: Config, paths: Paths) -> Iterator[Task]:
    made = tuple(FRAMES[kind] for kind in [config.dataset.kind] if kind in FRAMES)
    output = {"synthesize": paths.truth, "extract": paths.extracted}
    for rule in made:
        for subject in config.split.subjects:
            yield _each(paths, rule, subject, output[rule](subject))
    for subject in config.split.subjects:
        yield _each(paths, "backgrounds", subject, paths.background(subject), made)
    for split in ("train", "val", "test"):
        yield Task("index", split, paths.index(split), paths.log("index", split), None, made)
    for subject in config.split.subjects:
        yield _each(paths, "crops", subject, paths.crops(subject), ("index", "backgrounds"))


def _networks(config: Config, paths: Paths) -> Iterator[Task]:
    yield _training(paths, "enc_dec", ("crops",))
    for subject in config.split.subjects:
        yield _each(paths, "embed", subject, paths.embeddings(subject), ("train_enc_dec",))
    for subject in paths.fitted_subjects:
        yield _each(paths, "fit_bodies", subject, paths.fitted(subject), ("index",))
    yield _training(paths, "pose", ("embed",))
    yield _training(paths, "prior", ())
    yield _training(paths, "smpl", ("embed", "train_prior"))
    fitted = ("fit_bodies",) if paths.fitted_subjects else ()
    judged = ("train_prior",) if config.hmr.prior_weight else ()
    begun = ("train_enc_dec",) if config.hmr.start == "enc_dec" else ()
    yield _training(paths, "hmr", ("crops", *(fitted if paths.fits_bodies else ()), *judged, *begun))
    after = ("embed", "train_pose", "train_smpl", "train_hmr")
    yield Task("predict", "all", paths.predictions, paths.log("predict"), None, after)
    yield Task("evaluate", "all", paths.metrics, paths.log("evaluate"), None, ("predict", *fitted))
    yield Task("report", "all", paths.report, paths.log("report"), None, ("evaluate",))


def _checks(config: Config, paths: Paths) -> Iterator[Task]:
    bodies = {"bodies": FRAMES.get(config.dataset.kind, "")} if paths.bodies else {}
    made = {"index": "index", "backgrounds": "backgrounds", **bodies, "crops": "crops"}
    made |= {network: f"train_{network}" for network in NETWORKS}
    for what, rule in (made | {"embeddings": "embed", "predictions": "predict"}).items():
        for marker in paths.markers(what):
            log = paths.log("check", marker.stem)
            yield Task(f"check_{what}", marker.stem, marker, log, None, (rule,) if rule else (), _wild(what, marker))
    for marker in paths.markers("fitted", paths.fitted_subjects) if paths.fitted_subjects else ():
        log = paths.log("check", marker.stem)
        yield Task("check_fitted", marker.stem, marker, log, None, ("fit_bodies",), _wild("fitted", marker))


def _wild(what: str, marker: Path) -> str:
    """The wildcard of a check: `9` of crops_S9, `test` of index_test."""
    return marker.stem.removeprefix(what).removeprefix("_").removeprefix("S")


def _sweep(config: Config, paths: Paths) -> Iterator[Task]:
    """The label sweep, its rivals first."""
    for name in config.labels.representations:
        if name in config.rivals:
            yield from _rival(Paths(rival_config(config, name)))
    for point in points(config):
        output, rule = paths.point(point), "train_label_images" if point.of_images else "train_label_pose"
        stem = str(output.relative_to(paths.labels).with_suffix(""))
        after = ("crops", "train_enc_dec") if point.of_images else ("embed", "embed_rival")
        yield Task(rule, point.name, output, paths.log(rule, stem), output.parent, after, stem.replace("/", "_"))
    for name in config.labels.representations:
        marker, after = paths.checked("labels", name), ("train_label_images", "train_label_pose")
        yield Task("check_labels", name, marker, paths.log("check", f"labels_{name}"), None, after, name)
        log = paths.log("measure_labels", name)
        yield Task("measure_labels", name, paths.measured(name), log, None, ("check_labels",), name)
    if config.labels.representations:
        yield Task("label_sweep", "all", paths.label_curve, paths.log("label_sweep"), None, ("measure_labels",))


def _rival(rival: Paths) -> Iterator[Task]:
    """What is made of a rival before its points: its network and everybody's embeddings."""
    output, encoder = rival.checkpoint("enc_dec"), rival.config.enc_dec.name
    model = f"{encoder}/{output.stem}"
    log = rival.log("train_rival", model)
    yield Task("train_rival", encoder, output, log, output.parent, ("crops",), model.replace("/", "_"))
    marker, log = rival.checked("rival", encoder), rival.log("check", f"rival_{encoder}")
    yield Task("check_rival", encoder, marker, log, None, ("train_rival",), encoder)
    for subject in rival.config.split.subjects:
        one = f"{encoder}_S{subject}"
        log = rival.log("embed_rival", one)
        yield Task("embed_rival", one, rival.embeddings(subject), log, None, ("check_rival",), f"{encoder}_{subject}")
        marker, log = rival.checked("rival_embeddings", one), rival.log("check", f"rival_embeddings_{one}")
        yield Task("check_rival_embeddings", one, marker, log, None, ("embed_rival",), f"{encoder}_{subject}")


def _each(paths: Paths, rule: str, subject: int, output: Path, after: tuple[str, ...] = ()) -> Task:
    return Task(rule, f"S{subject}", output, paths.log(rule, f"S{subject}"), None, after)


def _training(paths: Paths, network: str, after: tuple[str, ...]) -> Task:
    rule = f"train_{network}"
    return Task(rule, "all", paths.checkpoint(network), paths.log(rule), paths.run_dir(network), after)
