"""Sources of extract that may not be read: what can be left out is; else there is one error."""

from __future__ import annotations

import json

import pytest

from codebase.config.base import to_yaml
from tests.doors import packagings
from tests.integration.test_bad_data import as_nobody, open_folder  # noqa: F401 - a fixture
from tests.official.runs import make_config
from tests.official.writer import Official, pack, write_official

FIRST = "s_01_act_02_subact_01_ca_01"


@pytest.fixture
def official(open_folder):  # noqa: F811
    return write_official(open_folder / "source", subjects=(1,), cameras=(1, 2), frames=4, size=96)


def extracted(folder, source, **extract):
    """The process, and what it wrote."""
    folder.joinpath("results").mkdir(mode=0o777)
    folder.joinpath("results").chmod(0o777)
    dataset = {"kind": "extract", "subjects": (1, 8, 9), "acts": (2,), "cameras": (1, 2)}
    config = make_config(source, folder / "results", dataset=dataset, extract={"source": source, **extract})
    (folder / "run.yaml").write_text(to_yaml(config), encoding="utf-8")
    output = folder / "results" / "run" / "dataset" / "extracted" / "S1.json"
    done = as_nobody("extract", "--config", str(folder / "run.yaml"), "--subject", "1", "--output", str(output))
    assert "Traceback" not in done.stderr, done.stderr
    return done, json.loads(output.read_text()) if output.is_file() else None


OFFICIAL = {
    "a video": (lambda o: o.video(1, 2, 1, 1), "folder", 1),
    "poses": (lambda o: o.poses(1, 2, 1), "folder", 2),
    "masks": (lambda o: o.masks(1, 2, 1, 1), "mask", 4),
    "a folder of videos": (lambda o: o.root / "S1" / "Videos", "folder", 4),
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_files(name, official: Official, open_folder):  # noqa: F811
    path, kind, count = OFFICIAL[name]
    path(official).chmod(0)
    done, content = extracted(open_folder, official.root)
    assert done.returncode == 0, done.stderr
    assert content["counts"][f"left_out_{kind}s"] == count
    assert "ermission denied" in str([content["left_out"], content["facts"]])


def test_an_archive(official, open_folder):  # noqa: F811
    pack(official, open_folder / "archives")
    (official.root / "metadata.xml").replace(open_folder / "archives" / "metadata.xml")
    (open_folder / "archives" / "Videos_S1.tgz").chmod(0)
    done, content = extracted(open_folder, open_folder / "archives")
    assert done.returncode == 0, done.stderr
    assert "ermission denied" in str(content["left_out"])


def _whole(official):
    return official.root, {}


def _fetched(official):
    fetched = packagings.write_fetch(official, official.root.parent / "fetched", frames=(1, 4))
    return fetched, {"door": "h36m_fetch", "masks": "none"}


def _npz(official):
    npz = packagings.write_videopose3d(official, official.root.parent / "npz" / "data_3d_h36m.npz")
    return npz, {"door": "videopose3d", "masks": "none", "metadata": official.root / "metadata.xml",
                 "frames": official.root}  # fmt: skip


ONE_ERROR = {
    "metadata.xml": (_whole, lambda source: source / "metadata.xml"),
    "the source": (_whole, lambda source: source),
    "h36m-fetch's subject": (_fetched, lambda source: next(source.rglob("S1"))),
    "VideoPose3D's poses": (_npz, lambda source: source),
    "VideoPose3D's folder": (_npz, lambda source: source.parent),
}


@pytest.mark.parametrize("name", ONE_ERROR)
def test_one_error(name, official, open_folder):  # noqa: F811
    make, locked = ONE_ERROR[name]
    source, settings = make(official)
    locked(source).chmod(0)
    done, content = extracted(open_folder, source, **settings)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("error:") == 1
    assert content is None
