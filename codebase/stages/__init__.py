"""One file a stage: VERSION and run(config, *, paths)."""
