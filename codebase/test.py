"""`python test.py CONFIG ...` from inside this folder, as `python -m codebase test CONFIG ...` from the root."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parent.parent
    # a script's own folder comes first on sys.path, where our modules would pass for top-level ones
    sys.path[0] = str(root)
    # files that are named from here must still be found from the root
    arguments = []
    for word in sys.argv[1:]:
        option, mark, name = word.partition("=") if word.startswith("--") else ("", "", word)
        is_path = name.endswith((".yaml", ".yml")) or Path(name).is_file()
        arguments.append(f"{option}{mark}{Path(name).resolve()}" if is_path else word)
    os.chdir(root)

    from codebase.cli import main

    raise SystemExit(main(["test", *arguments]))
