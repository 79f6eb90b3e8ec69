"""A device that is not the CPU, without any hardware: what a GPU would refuse is refused.

Its tensors hold a tensor on the CPU, which computes. An operation that mixes them with tensors of the CPU raises, as
`.numpy()` of one does; single numbers and indices may come from the CPU, as with CUDA. It shows where a tensor was left
behind, nothing of speed, number formats or synchronisation. torch registers such a device for a whole process: use it
in a process of its own. What it builds on is experimental in torch.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "elsewhere"
_aten = torch.ops.aten
_MOVES = (_aten.copy_.default, _aten._to_copy.default)
_INDEXES = (_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default)
_tensor, _save = torch.tensor, torch.save


def available() -> bool:
    """Whether this torch can register a device in Python."""
    return hasattr(backend_registration, "_setup_privateuseone_for_python_backend")


def register() -> torch.device:
    """Make the device; from here on this process has it."""

    class Module(backend_registration._DummyBackendModule):
        def get_amp_supported_dtype(self) -> list[torch.dtype]:
            return [torch.bfloat16]

    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Module())
    # these two reach the device below what Python can see; of a saved state a GPU's numbers matter alone
    torch.tensor = _made
    torch.save = lambda content, *how, **options: _save(_on_cpu(content), *how, **options)
    # the tensors below know no versions, which inference mode asks about
    torch.inference_mode = lambda mode=True: torch.no_grad() if mode else nullcontext()
    return torch.device(NAME, 0)


class Elsewhere(Tensor):
    """A tensor of the device."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Elsewhere:
        made = Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=torch.device(NAME, 0),
        )  # fmt: skip
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _compute(func, args, kwargs or {})

    def __repr__(self) -> str:
        return f"Elsewhere({self.inner!r})"

    def __getitem__(self, index: Any) -> Tensor:
        return Tensor.__getitem__(self, _indices(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        Tensor.__setitem__(self, _indices(index), value)

    def new_tensor(self, data: Any, **options: Any) -> Tensor:
        return self.inner.new_tensor(data, **options).to(self.device)

    def tolist(self) -> Any:
        return self.inner.tolist()


class Here(TorchDispatchMode):
    """A context in which tensors can be made on the device and moved to it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _compute(func, args, kwargs or {})


def _compute(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = [leaf for leaf in tensors if isinstance(leaf, Elsewhere)]
    device = kwargs.get("device")
    if not there and not _is_there(device):
        return func(*args, **kwargs)
    left_behind = [tuple(leaf.shape) for leaf in tensors if not isinstance(leaf, Elsewhere) and leaf.ndim]
    may_mix = func in _MOVES or (func in _INDEXES and isinstance(args[0], Elsewhere))
    if there and left_behind and not may_mix:
        raise RuntimeError(f"{func} of tensors on two devices; on the CPU are those of shape {left_behind}")
    with torch.no_grad():
        found = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
    if func is _aten.copy_.default:
        return args[0]
    if device is not None and not _is_there(device):
        return found
    known = {id(leaf.inner): leaf for leaf in there}  # what is changed in place stays the tensor that it was

    def outer(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return known[id(leaf)] if id(leaf) in known else Elsewhere(leaf)

    return tree_map(outer, found)


def _inner(leaf: Any) -> Any:
    if isinstance(leaf, torch.device):
        return torch.device("cpu")
    return leaf.inner if isinstance(leaf, Elsewhere) else leaf


def _is_there(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _indices(index: Any) -> Any:
    def one(part: Any) -> Any:
        return _tensor(part) if isinstance(part, list | np.ndarray) else part

    return tuple(map(one, index)) if isinstance(index, tuple) else one(index)


def _made(data: Any, *, device: Any = None, **options: Any) -> Tensor:
    return _tensor(data, **options).to(device) if _is_there(device) else _tensor(data, device=device, **options)


def _on_cpu(content: Any) -> Any:
    if isinstance(content, dict):
        return type(content)((name, _on_cpu(value)) for name, value in content.items())
    if isinstance(content, list | tuple):
        return type(content)(map(_on_cpu, content))
    return content.inner.clone() if isinstance(content, Elsewhere) else content
