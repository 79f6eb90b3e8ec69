"""What a process of several leaves for the one that watches them."""

from __future__ import annotations

import json
import threading

from codebase.errors import EXIT_USER_ERROR, UserError
from codebase.training.spread import as_member


def test_a_report_is_whole_from_the_moment_that_it_is_there(tmp_path, monkeypatch):
    """torchrun stops the others when the first one fails, and reads what each has left: half a report ended it."""
    place = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(place))
    words = "a cause " * 2_000_000
    sizes, over = set(), threading.Event()

    def look() -> None:
        while not over.is_set():
            if place.exists():
                sizes.add(place.stat().st_size)

    watching = threading.Thread(target=look, daemon=True)
    watching.start()

    def fail() -> None:
        raise UserError(words)

    assert as_member(fail) == EXIT_USER_ERROR
    over.set()
    watching.join()
    assert sizes <= {place.stat().st_size}
    assert words in json.loads(place.read_text())["message"]
