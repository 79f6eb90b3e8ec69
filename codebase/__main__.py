"""`python -m codebase STAGE ...`."""

from codebase.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
