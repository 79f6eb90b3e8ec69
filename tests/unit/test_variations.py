"""Rendered again with one thing changed: nothing else may change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codebase.body.arrays import load_body
from codebase.synthetic.capture import film, open_session, perform, with_what_hangs
from codebase.synthetic.variations import in_clothes_of, in_light


@pytest.fixture(scope="module")
def scene():
    session = open_session(load_body(Path("assets/free_body.npz")), 9, seed=0, size=96, cameras=(1, 4))
    return session, perform(session, 10, 1, frames=6, fps=3.0)  # she wears a skirt and sits down


def test_the_same_clothes_give_the_same_picture(scene):
    session, take = scene
    again = with_what_hangs(session, take)
    assert np.array_equal(again.vertices_m, take.vertices_m)
    for (first, _), (second, _) in zip(film(session, take, 4).values(), film(session, again, 4).values(), strict=True):
        assert np.array_equal(first, second)


def test_other_clothes_change_the_person_and_nothing_else(scene):
    session, take = scene
    dressed = in_clothes_of(session, 7)  # trousers and long sleeves
    changed = with_what_hangs(dressed, take)
    body = len(session.body.v_template)
    assert np.array_equal(changed.vertices_m[:, :body], take.vertices_m[:, :body])
    assert np.array_equal(changed.joints_world_mm, take.joints_world_mm)
    before, after = film(session, take, 4), film(dressed, changed, 4)
    for camera in (1, 4):
        person = (before[camera][1] > 0) | (after[camera][1] > 0)
        difference = np.abs(before[camera][0].astype(int) - after[camera][0]).mean(axis=-1)
        assert difference[person].mean() > 10
        far = ~person & (np.cumsum(np.ones((96, 96)), axis=0) < 20)  # no shadow falls on the upper part of the picture
        assert difference[far].max() == 0


def test_other_light_changes_the_room_and_leaves_the_pose(scene):
    session, take = scene
    relit = in_light(session, 0)
    assert not np.array_equal(relit.lights.key_m, session.lights.key_m)
    for camera, (image, mask) in film(relit, take, 4).items():
        assert np.abs(relit.views[camera].still - session.views[camera].still).mean() > 1
        assert np.array_equal(mask, film(session, take, 4)[camera][1])
        assert image.any()
    assert np.array_equal(in_light(session, 0).lights.key, relit.lights.key)
    assert not np.array_equal(in_light(session, 1).lights.key, relit.lights.key)
