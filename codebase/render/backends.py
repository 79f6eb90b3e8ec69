"""Who draws silhouettes: ours, or a renderer that somebody has installed and wants to compare with."""

from __future__ import annotations

import importlib
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from codebase.errors import ConfigError
from codebase.render.silhouette import silhouette

# module of ours that adapts it, the packages that it imports, and how to get them
_OTHERS = {
    "neural_renderer": (
        "codebase.render.neural_renderer_adapter",
        ("neural_renderer",),
        "it needs a CUDA GPU and an environment of its age: envs/neural_renderer.md says which",
    ),
    "pytorch3d": (
        "codebase.render.pytorch3d_adapter",
        ("pytorch3d", "pytorch3d._C"),
        "install PyTorch3D, built for this torch (its INSTALL.md; where there is no wheel, from source)",
    ),
}
NAMES = ("ours", *_OTHERS)


@runtime_checkable
class Draw(Protocol):
    """Masks of meshes, differentiable in the vertices; what `silhouette` promises, as far as a renderer keeps it."""

    def __call__(
        self,
        vertices_cam_m: Float[Tensor, "batch vertices 3"],
        faces: Int[Tensor, "faces 3"],
        f_px: Float[Tensor, "batch 2"],
        c_px: Float[Tensor, "batch 2"],
        size: tuple[int, int],
    ) -> Float[Tensor, "batch height width"]:
        """See `codebase.render.silhouette.silhouette`."""


def backend(name: str, *, where: str = "smpl.silhouettes") -> Draw:
    """The function that draws silhouettes.

    Args:
        name: ours, neural_renderer or pytorch3d.
        where: the config key that named it, for the message.

    Raises:
        ConfigError: there is no such backend, or what it needs cannot be imported.
    """
    if name == "ours":
        return silhouette
    if name not in _OTHERS:
        raise ConfigError(f"There is no silhouette backend '{name}'.", where=where, expected=" | ".join(NAMES))
    module, needs, how = _OTHERS[name]
    for package in needs:
        try:
            importlib.import_module(package)
        except Exception as error:  # an extension built for another torch fails with all sorts of errors
            raise ConfigError(
                f"The silhouette backend '{name}' cannot be used: importing {package} failed ({error}).",
                where=where, expected="ours, or a renderer that is installed", mend=f"{how}; or set {where}: ours",
            ) from error  # fmt: skip
    found: Draw = importlib.import_module(module).draw
    return found
