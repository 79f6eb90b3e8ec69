"""What is submitted: one command, or one for each point of a sweep, and what it needs of the scheduler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from codebase.errors import UserError

Argv = tuple[str, ...]
GpuSyntax = Literal["gpus", "gres", "gpu", "rusage"]
# how each scheduler's users ask for a GPU; the first is the default
GPU_SYNTAXES: dict[str, tuple[GpuSyntax, ...]] = {
    "bsub": ("gpu", "rusage"),
    "sbatch": ("gpus", "gres"),
    "submitit": ("gpus", "gres"),
}
# how each scheduler is told memory, unless the user says otherwise
MEMORY_PER = {"bsub": "core", "sbatch": "job", "submitit": "job"}


@dataclass(frozen=True)
class Job:
    """Commands with the same needs; more than one make an array.

    Attributes:
        commands: an argv each.
        name: of the job, as the scheduler shows it.
        log: file of standard output and error, with the scheduler's own places for the job's id.
        cores: of each node.
        minutes: wall time.
        mem_mb: memory of each node, in MB.
        mem_per: whether the scheduler is told memory by the core or by the job.
        gpus: of each node.
        gpu_model: as the site names it; empty for any.
        gpu_syntax: how this site asks for a GPU; None for the carrier's usual way.
        nodes: that the job holds; the command runs on the first.
        queue: LSF's queue or Slurm's partition; empty for the site's default.
        account: LSF's project or Slurm's account; empty for the user's default.
        setup: shell lines before the command, such as `module load cuda`.
        max_running: at most so many points of a sweep run at once; 0: as the scheduler likes.
        after: id of a job that must succeed first; empty for none.
        requeue: whether exit code 75 (out of time, state saved) asks for another attempt.
    """

    commands: tuple[Argv, ...]
    name: str
    log: str
    cores: int = 2
    minutes: int = 1440
    mem_mb: int = 16000
    mem_per: str = ""
    gpus: int = 1
    gpu_model: str = ""
    gpu_syntax: GpuSyntax | None = None
    nodes: int = 1
    queue: str = ""
    account: str = ""
    setup: tuple[str, ...] = ()
    max_running: int = 0
    after: str = ""
    requeue: bool = True

    @property
    def mem_mb_per_core(self) -> int:
        """Memory of each core, rounded up."""
        return -(-self.mem_mb // self.cores)

    def memory_by(self, via: str) -> str:
        """`core` or `job`: how the scheduler behind `via` is told memory."""
        return self.mem_per or MEMORY_PER[via]

    def syntax(self, via: str) -> GpuSyntax:
        """How `via` asks for a GPU.

        Raises:
            UserError: the asked syntax is another scheduler's.
        """
        known = GPU_SYNTAXES[via]
        if self.gpu_syntax is not None and self.gpu_syntax not in known:
            raise UserError(
                f"--gpu-syntax {self.gpu_syntax} is no way in which {via} asks for a GPU.",
                expected=" or ".join(known),
                mend="give one of these, or leave it out",
            )
        return self.gpu_syntax or known[0]
