"""The model file of `test` is found by name, or the ones that exist are listed."""

import http.server
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from conftest import REPOSITORY

from codebase.by_hand import find_model
from codebase.errors import DataError


def test_a_model_is_found_as_given_or_in_the_run(tmp_path):
    run = tmp_path / "runs/hmr"
    run.mkdir(parents=True)
    (run / "model_20.pt").touch()
    assert find_model(run / "model_20.pt", tmp_path) == run / "model_20.pt"
    name = (run / "model_20.pt").relative_to(run)
    assert find_model(name, run) == run / "model_20.pt"


def test_a_missing_model_lists_those_that_exist(tmp_path):
    (tmp_path / "model_20.pt").touch()
    with pytest.raises(DataError, match=r"model_20\.pt"):
        find_model(tmp_path / "model_40000.pt", tmp_path)


def test_a_model_is_fetched_from_an_address(tmp_path):
    served = tmp_path / "served"
    served.mkdir()
    (served / "model_7.pt").write_bytes(b"weights")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=served)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        # a path on the command line folds the double slash
        found = find_model(Path(f"{address}/model_7.pt"), tmp_path)
        assert found.read_bytes() == b"weights"
        with pytest.raises(DataError, match="cannot be fetched"):
            find_model(Path(f"{address}/model_8.pt"), tmp_path)
        server.shutdown()


def test_an_address_that_is_none_and_a_torn_answer_are_errors_of_the_user(tmp_path):
    class Torn(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"half")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Torn) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in ("model_7.pt", "model 7.pt"):
            with pytest.raises(DataError, match="cannot be fetched"):
                find_model(Path(f"http://127.0.0.1:{server.server_port}/{name}"), tmp_path)
        server.shutdown()
    assert not list(tmp_path.rglob("*.pt"))


@pytest.mark.parametrize("option", ["--model_file={}", "--model_file {}"])
def test_a_model_named_from_inside_codebase_is_found(option):
    """However the option is written, a relative path counts from where the command runs."""
    done = subprocess.run(
        [sys.executable, "test.py", "../configs/modelfinal.yaml", *option.format("../LICENSE").split()],
        cwd=REPOSITORY / "codebase", capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no readable checkpoint" in done.stderr
