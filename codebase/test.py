"""`python test.py CONFIG ...` from inside this folder, as `python -m codebase test CONFIG ...` from the root."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parent.parent
    # a script's own folder comes first on sys.path, where our modules would pass for top-level ones
    sys.path[0] = str(root)
    arguments = [str(Path(word).resolve()) if word.endswith(".yaml") else word for word in sys.argv[1:]]
    os.chdir(root)

    from codebase.cli import main

    raise SystemExit(main(["test", *arguments]))
