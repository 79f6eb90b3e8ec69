"""Pickles of bodies as Python 2 wrote the official ones: containers, module names and string opcodes of their files."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import types
from pathlib import Path

import numpy as np
from scipy import sparse

from codebase.skeleton import SMPL

# names of today -> names in files that Python 2 and scipy of its time wrote
_OLD_NAMES = {
    b"cscipy.sparse._csc\n": b"cscipy.sparse.csc\n",
    b"cscipy.sparse._coo\n": b"cscipy.sparse.coo\n",
    b"cnumpy._core.multiarray\n": b"cnumpy.core.multiarray\n",
}


class Ch:
    """State of a chumpy array as chumpy saves it: also a set of names, which its pickles build by `__builtin__.set`."""

    def __init__(self, x):
        self.x, self._dirty_vars, self._itr, self._depends_on_deps = np.asarray(x, np.float64), {"x"}, None, {}


class Select:
    """chumpy.reordering.Select."""

    def __init__(self, a, idxs, preferred_shape):
        self.a, self.idxs, self.preferred_shape, self._dirty_vars = a, idxs, preferred_shape, {"a"}


class _Python2Pickler(pickle._Pickler):
    """Protocols 0 to 2 with str and bytes as Python 2's byte strings."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012 - as pickle has it

    def save_bytes(self, value):
        if self.proto:
            self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        else:
            self.write(pickle.STRING + repr(value)[1:].encode("ascii") + b"\n")

    def save_str(self, value):
        self.save_bytes(value.encode("latin1"))

    dispatch[bytes] = save_bytes
    dispatch[str] = save_str


def python2_dumps(content, protocol=2):
    """Bytes of a pickle with chumpy's modules under their names while it is written, and not after."""
    modules = {name: types.ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")}
    modules["chumpy.ch"].Ch, modules["chumpy.reordering"].Select = Ch, Select
    before = (Ch.__module__, Select.__module__)
    Ch.__module__, Select.__module__ = "chumpy.ch", "chumpy.reordering"
    sys.modules.update(modules)
    try:
        buffer = io.BytesIO()
        _Python2Pickler(buffer, protocol).dump(content)
    finally:
        Ch.__module__, Select.__module__ = before
        for name in modules:
            sys.modules.pop(name)
    written = buffer.getvalue()
    for new, old in _OLD_NAMES.items():
        written = written.replace(new, old)
    return written


def official(seed=0, vertices=60, shapes=10, joints=24):
    """Keys and containers of an official file: chumpy, scipy.sparse, strings, an unsigned tree, training notes."""
    random = np.random.default_rng(seed)
    weights = random.random((vertices, joints))
    regressor = random.random((joints, vertices)) * (random.random((joints, vertices)) < 0.2)
    regressor[:, 0] += 0.1
    regressor /= regressor.sum(1, keepdims=True)
    parents = [2**32 - 1, *SMPL.parents[1:22]]
    parents += [20, 21] if joints == 24 else fingers()
    template = random.normal(size=(vertices, 3)) * (0.3, 0.6, 0.1)
    wide = 0.02 * random.normal(size=(vertices, 3, shapes + 2))
    chosen = np.arange(wide.size).reshape(wide.shape)[..., :shapes].ravel()
    return {
        "J_regressor_prior": sparse.csc_matrix(regressor),
        "pose": Ch(np.zeros(3 * joints)),
        "f": random.permuted(np.tile(np.arange(vertices, dtype=np.uint32), (40, 1)), axis=1)[:, :3],
        "J_regressor": sparse.csc_matrix(regressor) if joints == 24 else coo(regressor),
        "kintree_table": np.array([parents, range(joints)], np.int64).astype(np.uint32),
        "J": regressor @ template,
        "weights_prior": weights,
        "weights": weights / weights.sum(1, keepdims=True),
        "vert_sym_idxs": np.arange(vertices),
        "posedirs": 0.01 * random.normal(size=(vertices, 3, 9 * (joints - 1))),
        "pose_training_info": {"reg": 1.0, "names": ["a", "b"], "size": np.float64(3)},
        "bs_style": "lbs",
        "v_template": Ch(template),
        "shapedirs": Select(Ch(wide), chosen, (vertices, 3, shapes)),
        "bs_type": "lrotmin",
    }


def fingers():
    """Parents of SMPL+H's 30 finger joints: five chains of three on each wrist."""
    return [wrist if link == 0 else 21 + 15 * hand + 3 * finger + link
            for hand, wrist in enumerate((20, 21)) for finger in range(5) for link in range(3)]  # fmt: skip


def coo(matrix):
    """A matrix with the state of scipy's coo_matrix in Python 2's time."""
    old = sparse.coo_matrix(matrix)
    row, col = old.__dict__.pop("coords")
    old.__dict__.update(row=row, col=col)
    return old


def write_official(path: Path, protocol=2, **options):
    """Write one and return what it holds."""
    content = official(**options)
    path.write_bytes(python2_dumps(content, protocol))
    return content
