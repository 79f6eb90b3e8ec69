"""Official pickles: read without chumpy; anything else is refused, and nothing of it runs."""

import pickle
import sys
import types

import numpy as np
import pytest
from scipy import sparse

from codebase.body.arrays import load_body
from codebase.body.pickles import ADMITTED, read_official_pickle
from codebase.errors import UserError
from codebase.skeleton import SMPL


class Mischief:
    """Unpickled by the ordinary loader, it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture
def chumpy(monkeypatch):
    """Stand-ins under chumpy's names, to write pickles as chumpy does; the reader must not need them."""
    ch, reordering = types.ModuleType("chumpy.ch"), types.ModuleType("chumpy.reordering")
    ch.Ch = type("Ch", (), {"__module__": "chumpy.ch", "__init__": lambda self, x: setattr(self, "x", x)})
    reordering.Select = type("Select", (), {"__module__": "chumpy.reordering"})
    for name, module in (("chumpy", types.ModuleType("chumpy")), ("chumpy.ch", ch), ("chumpy.reordering", reordering)):
        monkeypatch.setitem(sys.modules, name, module)
    yield ch, reordering
    for name in ("chumpy", "chumpy.ch", "chumpy.reordering"):
        monkeypatch.delitem(sys.modules, name)


def official(ch, reordering):
    """A small body in the official files' own containers."""
    random = np.random.default_rng(0)
    count = 60
    template = random.normal(size=(count, 3))
    select = reordering.Select()
    select.a, select.idxs, select.preferred_shape = (
        ch.Ch(random.normal(size=(count, 3, 12))),
        np.arange(count * 30),
        (count, 3, 10),
    )
    weights = random.random((count, 24))
    return {
        "v_template": ch.Ch(template),
        "shapedirs": select,
        "posedirs": random.normal(size=(count, 3, 207)),
        "J_regressor": sparse.csc_matrix(random.random((24, count)) * (random.random((24, count)) < 0.2)),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.array([[2**32 - 1, *SMPL.parents[1:]], range(24)], dtype=np.int64),
        "f": np.array([[0, 1, 2], [2, 3, 0]], dtype=np.uint32),
        "bs_type": "lrotmin",
    }


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_reads_chumpy_and_sparse_containers(tmp_path, chumpy, protocol):
    content = official(*chumpy)
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    for name in ("chumpy", "chumpy.ch", "chumpy.reordering"):
        sys.modules.pop(name)
    body = load_body(path)
    assert np.allclose(body.v_template, content["v_template"].x)
    assert np.allclose(body.J_regressor, content["J_regressor"].toarray())
    assert np.allclose(body.shapedirs, content["shapedirs"].a.x.ravel()[: 60 * 30].reshape(60, 3, 10))
    assert body.J17_is_approximate
    assert body.name == "SMPL_NEUTRAL"
    for name in ("chumpy", "chumpy.ch", "chumpy.reordering"):
        sys.modules[name] = types.ModuleType(name)


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"v_template": m}, lambda m: [np.zeros(3), m]])
def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path, wrap):
    witness, path = tmp_path / "ran", tmp_path / "SMPL_MALE.pkl"
    path.write_bytes(pickle.dumps(wrap(Mischief(witness))))
    with pytest.raises(UserError, match="Nothing in it was executed") as caught:
        load_body(path)
    assert str(path) in str(caught.value)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("builtins", "eval"), ("builtins", "getattr"), ("numpy", "load"), ("scipy.sparse", "load_npz"),
     ("numpy.core.multiarray", "fromfile"), ("chumpy.ch", "Ch.__init__"), ("chumpy.ch", "MatVecMult"),
     ("copyreg", "__newobj__")],
)  # fmt: skip
def test_only_exact_pairs_are_admitted(tmp_path, module, name):
    path = tmp_path / "body.pkl"
    path.write_bytes(
        b"\x80\x04\x8c"
        + bytes([len(module)])
        + module.encode()
        + b"\x8c"
        + bytes([len(name)])
        + name.encode()
        + b"\x93."
    )
    with pytest.raises(UserError, match="it asks for"):
        read_official_pickle(path)
    assert (module, name) not in ADMITTED


@pytest.mark.parametrize(
    "content", [b"", b"no pickle", pickle.dumps([1, 2]), pickle.dumps({"v_template": np.zeros((4, 3))})[:-20]]
)
def test_damaged_pickles_are_user_errors(tmp_path, content):
    path = tmp_path / "body.pkl"
    path.write_bytes(content)
    with pytest.raises(UserError):
        load_body(path)


def named(module, name):
    """Opcodes that push an admitted thing on the stack."""
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


@pytest.mark.parametrize("pair", sorted(ADMITTED))
@pytest.mark.parametrize("attribute", ["__defaults__", "__call__", "__setstate__", "anything"])
def test_admitted_things_cannot_be_tampered_with(tmp_path, pair, attribute):
    """BUILD sets attributes of whatever lies on the stack: on our stand-ins nothing can be set."""
    path = tmp_path / "body.pkl"
    for state in ((None, {attribute: "changed"}), {attribute: "changed"}):
        path.write_bytes(named(*pair) + pickle.dumps(state, protocol=0)[:-1] + b"b.")
        with pytest.raises(UserError):
            read_official_pickle(path)
        assert getattr(ADMITTED[pair], attribute, None) != "changed"
