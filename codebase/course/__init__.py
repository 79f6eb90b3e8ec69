"""The course project's own commands: train.py and test.py on its tree, its YAML, its checkpoints and its results."""
