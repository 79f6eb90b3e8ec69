"""One training loop for every stage: exact resume, stop before the wall, nothing hidden."""
