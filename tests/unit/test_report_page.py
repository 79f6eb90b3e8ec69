"""The whole page from a small run in the documented formats."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from report_run import BODY, make_run

from codebase.body.arrays import load_body
from codebase.errors import DataError
from codebase.files import read_json, write_json
from codebase.geometry import project, world_to_camera
from codebase.report import sheet
from codebase.report.material import gather
from codebase.report.meshes import place, vertices_im_mm
from codebase.report.pictures import data_uri, person
from codebase.skeleton import H36M
from codebase.stages import report

VOID = {"meta", "img", "br", "link", "input"}


class Outline(HTMLParser):
    """Ids, links, alt texts, and that every element is closed."""

    def __init__(self):
        super().__init__()
        self.ids, self.links, self.images, self.outside, self.open = set(), set(), [], [], []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids |= {found["id"]} if "id" in found else set()
        if tag == "img":
            self.images.append(found)
        for name in ("src", "href"):
            value = found.get(name, "")
            if value.startswith("#"):
                self.links.add(value[1:])
            elif value and not value.startswith("data:"):
                self.outside.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def html(run):
    report.run(run.config, **run.arguments)
    return run.paths.report.read_text(encoding="utf-8")


def test_page_is_self_contained_and_well_formed(html):
    outline = Outline()
    outline.feed(html)
    assert outline.open == []
    assert outline.outside == []
    assert outline.links <= outline.ids
    assert all(image["alt"] for image in outline.images)
    assert not re.search(r"(?:https?:)?//[a-z]+\.|url\((?!#)", html)
    assert len(html) < 5e6


def test_page_shows_figures_examples_and_exclusions(html):
    assert "25 % below the mean pose" in html
    assert "best of 24" in html
    assert "worst of 24" in html
    assert "no &lt;b&gt;frames&lt;/b&gt;" in html
    assert "there are no vertex errors" not in html
    assert "name: tiny" in html
    for stage in ("Encoder-decoder", "Prior on pose"):
        assert stage in html


def test_page_is_a_function_of_its_inputs(run, html):
    report.run(run.config, **run.arguments)
    assert run.paths.report.read_text(encoding="utf-8") == html


def test_viewer_data_is_json_with_meshes(html):
    found = re.findall(r'<script type="application/json">(.*?)</script>', html)
    scenes = [json.loads(text) for text in found]
    assert [data["faces"] is not None for data in scenes] == [False, True, True]
    assert all(scene["mesh"] for scene in scenes[1]["scenes"])


def test_without_true_bodies_the_page_says_so(tmp_path):
    run = make_run(tmp_path, vertices=False)
    report.run(run.config, **run.arguments)
    assert "there are no vertex errors" in run.paths.report.read_text(encoding="utf-8")


def test_errors_against_fitted_bodies_are_told_from_those_against_true_ones(tmp_path):
    run = make_run(tmp_path, vertices=False)
    write_json(run.paths.metrics, read_json(run.paths.metrics) | {"against_fitted/hmr/pve_mm": 77.7})
    report.run(run.config, **run.arguments)
    html = run.paths.report.read_text()
    assert "no vertex errors but those against fitted bodies" in html
    assert "77.7" in html


def test_parts_that_were_not_predicted_are_left_out(run, tmp_path):
    less = tmp_path / "predictions.h5"
    less.write_bytes(run.paths.predictions.read_bytes())
    with h5py.File(less, "a") as file:
        for name in ("novel_view", "smpl", "hmr", "pose"):
            del file[name]
    report.run(run.config, **(run.arguments | {"predictions": less, "output": tmp_path / "page.html"}))
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    for what in ("novel views", "poses", "bodies"):
        assert f"holds no {what}" in html


def test_predictions_of_another_index_are_refused(run):
    arguments = {key: value for key, value in run.arguments.items() if key != "output"}
    with pytest.raises(DataError, match="other rows"):
        gather(run.config, **(arguments | {"index_test": run.paths.index("train")}))


def test_a_checkpoint_without_history_is_refused(run, tmp_path):
    broken = tmp_path / "model_1.pt"
    broken.write_bytes(b"no checkpoint")
    arguments = {key: value for key, value in run.arguments.items() if key != "output"}
    with pytest.raises(DataError, match="history"):
        gather(run.config, **(arguments | {"checkpoints": [broken]}))


def test_a_mesh_of_the_truth_covers_its_joints_in_the_cut_frame(run):
    """The cut's camera, the mesh's place and the frame agree: true joints fall on the drawn limbs."""
    arguments = {key: value for key, value in run.arguments.items() if key != "output"}
    material = gather(run.config, **arguments)
    body, row = load_body(BODY), 0
    cut, (f_px, c_px) = person(material, row, size=200)
    hmr = material.predictions.bodies["hmr"]
    mesh = vertices_im_mm(body, hmr, [row])[0]
    front = place(mesh, material.views, row).front_mm
    joints = body.J17_regressor @ front
    points = project(joints[None], f_px[None], c_px[None])[0]
    inside = points[[H36M.index(name) for name in ("neck", "spine", "left_knee", "right_knee")]]
    colours = np.array([cut[round(v), round(u)] for u, v in inside])
    assert (colours[:, 0] > colours[:, 2] + 40).all()  # the limbs of the fixture's frames are red, all else is grey
    root = world_to_camera(material.views.root_world_mm[row][None], material.views.R[row], material.views.T_mm[row])
    np.testing.assert_allclose(joints[0], root[0], atol=1e-3)


def test_pictures_come_back_from_their_uri():
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 0] = 200
    content = data_uri(image, lossless=True).partition(",")[2]
    read = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)
    assert read[0, 0].tolist() == [0, 0, 200]


def test_a_missing_frame_is_named(run):
    arguments = {key: value for key, value in run.arguments.items() if key != "output"}
    material = gather(run.config, **arguments)
    dataset = run.config.dataset.model_copy(update={"root": Path("nowhere")})
    elsewhere = run.config.model_copy(update={"dataset": dataset})
    with pytest.raises(DataError, match=r"s_09_act_02_subact_01_ca_01_000001\.jpg"):
        person(replace(material, config=elsewhere), 0, size=64)


def test_contact_sheet_has_a_cell_for_each_subject_and_act(run, tmp_path):
    sheet.main([str(run.paths.dataset), str(tmp_path / "sheet.jpg"), "--camera", "3", "--side", "40"])
    found = cv2.imread(str(tmp_path / "sheet.jpg"))
    assert found.shape == (sheet.HEADER + 2 * 44, sheet.HEADER + 2 * 44, 3)
    with pytest.raises(DataError, match="no frames"):
        sheet.contact_sheet(tmp_path, camera=1)
