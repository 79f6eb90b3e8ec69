"""Snakemake whose LSF plugin looks at its jobs every second: its own pause begins with 20 s and grows to 3 minutes."""

import sys

import snakemake_executor_plugin_lsf as plugin
from snakemake.cli import main

plugin.common_settings.init_seconds_before_status_checks = 1
plugin.Executor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, seconds: None)

if __name__ == "__main__":
    sys.exit(main())
