"""One command, four carriers: run it here, or as one job of LSF (bsub), Slurm (sbatch) or submitit.

The command is the whole DAG inside one job (CONFIG key=value ...), a sweep of such (an array), or a single stage
(-- STAGE ...). For a job per rule use `snakemake --profile cluster_profiles/slurm` instead. What is submitted is text
made by pure functions (render.py); inside the job the same command runs with `--via local` (local.py), which passes
signals on and asks for another attempt where a stage stopped with its state saved.
"""
