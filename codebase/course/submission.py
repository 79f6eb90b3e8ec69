"""submission.zip: the config and the code that made the results, as the course asked for them."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from codebase.files import atomic_path

ROOT = Path(__file__).resolve().parent.parent.parent
TEXTS = ("LICENSE", "NOTICE")


def write_submission(out_dir: Path, config_file: Path) -> Path:
    """Write out_dir/submission/{config.yaml, codebase/} and out_dir/submission.zip of it; returns the zip.

    Our own source files and their licence alone: no body, no weights, no data. The same content makes the same bytes.
    """
    folder, config = out_dir / "submission", config_file.read_bytes()  # which may lie in the folder that goes away
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_bytes(config)
    for source in sorted((ROOT / "codebase").rglob("*.py")):
        target = folder / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    for name in TEXTS:
        if (ROOT / name).is_file():
            shutil.copyfile(ROOT / name, folder / "codebase" / name)
    target = out_dir / "submission.zip"
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = zipfile.ZipInfo(str(path.relative_to(folder)))  # a fixed date
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(entry, path.read_bytes())
    return target
