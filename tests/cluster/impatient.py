"""Snakemake whose Slurm plugin looks at its jobs every 2 s; its own pause grows by 10 s at each look, to 3 minutes."""

import sys

import snakemake_executor_plugin_slurm as plugin
from snakemake.cli import main

plugin.Executor.next_seconds_between_status_checks = property(lambda self: 2, lambda self, seconds: None)

if __name__ == "__main__":
    sys.exit(main())
