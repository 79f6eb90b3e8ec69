"""Which device a stage computes on, and what it says where the GPU that it was promised is not there."""

import logging

import pytest
import torch

from codebase.errors import UserError
from codebase.training.precision import pick_device


@pytest.fixture
def without_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_auto_without_a_gpu_is_the_cpu(without_gpu, caplog):
    assert pick_device("auto").type == "cpu"
    assert not caplog.records


def test_a_gpu_that_is_asked_for_and_not_there_is_one_message(without_gpu):
    with pytest.raises(UserError, match=r"runtime\.device asks for a GPU") as error:
        pick_device("cuda")
    assert f"torch {torch.__version__} is built" in str(error.value)
    assert "CUDA_VISIBLE_DEVICES is not set" in str(error.value)
    assert "runtime.device to auto or cpu" in str(error.value)


def test_a_job_s_gpu_that_torch_does_not_find_is_said(without_gpu, monkeypatch, caplog):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with caplog.at_level(logging.WARNING):
        assert pick_device("auto").type == "cpu"
    assert "the job was given GPU 1, but torch finds none" in caplog.text
