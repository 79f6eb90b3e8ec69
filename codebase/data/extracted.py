"""What the stage extract says of a subject: `{dataset}/extracted/S{n}.json`, format posemill.extracted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from codebase.errors import DataError
from codebase.files import read_json
from codebase.logs import log

FORMAT, VERSION = "posemill.extracted", 1


def read_extracted(root: Path, subject: int) -> dict[str, Any] | None:
    """The subject's file under the dataset folder `root`, or None where nothing was extracted.

    Raises:
        DataError: the file is no JSON, or of another format.
    """
    path = root / "extracted" / f"S{subject}.json"
    if not path.is_file():
        return None
    content: dict[str, Any] = read_json(path)
    if (content.get("format"), content.get("version")) != (FORMAT, VERSION):
        raise DataError("The file has another format.", where=path, expected=FORMAT, mend="run extract again")
    return content


def log_summary(content: dict[str, Any]) -> None:
    """A line on what is there, and one per thing left out, up to a few."""
    counts, left_out = content["counts"], content["left_out"]
    log.info(
        "S%d: %d folders, %d frames, %d masks", content["subject"], counts["folders"], counts["frames"], counts["masks"]
    )
    for item in left_out[:20]:
        log.warning("left out %s %s (%d): %s", item["kind"], item["name"], item["count"], item["reason"])
    if len(left_out) > 20:
        log.warning("and %d more, see left_out in the subject's file", len(left_out) - 20)


def count(folders: dict[str, Any], left_out: list[dict[str, Any]]) -> dict[str, int]:
    """Folders, frames and masks that are there, and those that were left out."""
    there = {key: sum(record[key] for record in folders.values()) for key in ("frames", "masks")}
    gone = {f"left_out_{kind}s": sum(item["count"] for item in left_out if item["kind"] == kind)
            for kind in ("folder", "frame", "mask")}  # fmt: skip
    return {"folders": len(folders)} | there | gone
