"""The benchmark on new people: nobody whom the run knows is among them, and all else is as in the run."""

import argparse

import pytest

from benchmarks.new_people import strangers, table
from codebase.config import Config
from codebase.errors import ConfigError

RUN = Config.model_validate({
    "name": "run", "dataset": {"kind": "synthetic", "subjects": (1, 5, 8, 9)},
    "split": {"train": {"subjects": (1, 5)}, "val": {"subjects": (8,)}, "test": {"subjects": (9,)}},
    "crops": {"size": 96}, **{stage: {"label_subjects": (5,)} for stage in ("pose", "image_pose", "smpl", "hmr")},
})  # fmt: skip
OPTIONS = argparse.Namespace(acts=[2, 4], frames=7, fps=2.5, results=None)


def test_they_are_the_test_split_and_rendered_and_cut_as_in_the_run():
    found = strangers(RUN, (31, 33), OPTIONS, "0123456789abcdef")
    assert found.split.test.subjects == (31, 32, 33)
    assert (found.dataset.acts, found.synthesize.frames) == ((2, 4), 7)
    assert found.synthesize.image_size == RUN.synthesize.image_size
    assert found.crops == RUN.crops
    assert found.enc_dec.name == "enc_dec_0123456789ab", "embeddings of two encoders never lie in one folder"
    assert found.enc_dec.model_copy(update={"name": "enc_dec"}) == RUN.enc_dec


def test_people_of_the_run_and_nobody_are_refused():
    with pytest.raises(ConfigError, match="S8 is in the config"):
        strangers(RUN, (7, 9), OPTIONS, "0")
    with pytest.raises(ConfigError, match="S42 to S31 is nobody"):
        strangers(RUN, (42, 31), OPTIONS, "0")


def test_the_table_says_how_many_networks_there_were():
    text = table({"gain_db": [7.0], "n_mpjpe_mm": [90.0, 92.0]})
    assert "| 7.00 | 1 |" in text
    assert "| 91.0 ± 1.4 | 2 |" in text
