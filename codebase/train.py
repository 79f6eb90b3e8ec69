"""`python train.py CONFIG ...` from inside this folder, as `python -m codebase train CONFIG ...` from the root."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parent.parent
    # a script's own folder comes first on sys.path, where our modules would pass for top-level ones
    sys.path[0] = str(root)
    # files that are named from here must still be found from the root
    named = [word.endswith((".yaml", ".yml")) or Path(word).is_file() for word in sys.argv[1:]]
    arguments = [str(Path(w).resolve()) if path else w for w, path in zip(sys.argv[1:], named, strict=True)]
    os.chdir(root)

    from codebase.cli import main

    raise SystemExit(main(["train", *arguments]))
