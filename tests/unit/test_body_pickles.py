"""Official pickles: read without chumpy; anything else is refused, and nothing of it runs."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from official_body import Ch, coo, official, python2_dumps, write_official
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


def named(module, name):
    """Opcodes that push an admitted thing on the stack."""
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def refused(tmp_path, content, match="Nothing in it was executed"):
    path = tmp_path / "SMPL_MALE.pkl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=match) as caught:
        load_body(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("protocol", [0, 1, 2])
@pytest.mark.parametrize("shapes", [10, 300])
def test_reads_what_python_2_wrote(tmp_path, protocol, shapes):
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    content = write_official(path, protocol, shapes=shapes)
    for pair in (("chumpy.ch", "Ch"), ("__builtin__", "set"), ("scipy.sparse.csc", "csc_matrix"), ("numpy", "ndarray")):
        assert named(*pair) in path.read_bytes()
    assert "chumpy" not in sys.modules
    body = load_body(path)
    assert np.array_equal(body.v_template, content["v_template"].x.astype(np.float32))
    assert np.array_equal(body.J_regressor, content["J_regressor"].toarray().astype(np.float32))
    wide = content["shapedirs"].a.x
    assert np.array_equal(body.shapedirs, wide[..., :10].astype(np.float32))
    assert np.array_equal(body.faces, content["f"])
    assert tuple(body.parents) == SMPL.parents
    assert body.J17_is_fitted
    assert body.name == "SMPL_NEUTRAL"


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_reads_what_python_3_wrote_again(tmp_path, protocol):
    """People convert the files once, to plain arrays."""
    plain = {key: value.x if isinstance(value, Ch) else value for key, value in official().items()}
    plain["shapedirs"] = np.asfortranarray(plain["shapedirs"].a.x[..., :10])
    plain["J_regressor"] = sparse.csc_matrix(plain["J_regressor"])
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps(plain, protocol=protocol))
    body = load_body(path)
    assert np.array_equal(body.shapedirs, plain["shapedirs"].astype(np.float32))
    assert np.array_equal(body.J_regressor, plain["J_regressor"].toarray().astype(np.float32))


@pytest.mark.parametrize("kind", ["<f8", ">f4", "<i8", ">u2", "|b1", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_keep_type_order_and_values(tmp_path, kind, order):
    array = np.array([[1, 0, 3], [4, 5, 6]], order=order).astype(kind, order=order)
    (tmp_path / "a.pkl").write_bytes(python2_dumps({"a": array, "empty": np.zeros((0, 3)), "text": np.array(["a"])}))
    found = read_official_pickle(tmp_path / "a.pkl")
    assert set(found) == {"a", "empty"}
    assert np.array_equal(found["a"], array)
    assert (found["a"].dtype.kind, found["a"].dtype.itemsize) == (array.dtype.kind, array.dtype.itemsize)
    assert type(found["a"]) is np.ndarray


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"v_template": m}, lambda m: [np.zeros(3), m]])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path, wrap, protocol):
    witness = tmp_path / "ran"
    refused(tmp_path, pickle.dumps(wrap(Mischief(witness)), protocol=protocol))
    assert not witness.exists()


@pytest.mark.parametrize("place", ["v_template", "pose_training_info", "new key"])
def test_a_poisoned_official_file_is_refused_as_a_whole(tmp_path, place):
    """Everything that a body needs is in it, and one thing more."""
    witness, content = tmp_path / "ran", official()
    content[place] = Mischief(witness)
    refused(tmp_path, python2_dumps(content))
    assert not witness.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("posix", "system"), ("builtins", "eval"), ("__builtin__", "eval"), ("builtins", "getattr"),
     ("numpy", "load"), ("scipy.sparse", "load_npz"), ("numpy.core.multiarray", "fromfile"), ("numpy", "memmap"),
     ("chumpy.ch", "Ch.__init__"), ("chumpy.ch", "MatVecMult"), ("copyreg", "__newobj__"), ("numpy", "dtype.type"),
     ("numpy.testing._private.utils", "runstring"), ("subprocess", "Popen"), ("scipy.sparse.csc", "csc_matrix.save"),
     ("chumpy", "ch"), ("numpy ", "ndarray"), ("builtins", "SET")],
)  # fmt: skip
def test_only_exact_pairs_are_admitted(tmp_path, module, name):
    path = tmp_path / "body.pkl"
    short = b"\x80\x04\x8c" + bytes([len(module)]) + module.encode() + b"\x8c" + bytes([len(name)]) + name.encode()
    for content in (short + b"\x93.", named(module, name) + b"."):
        path.write_bytes(content)
        with pytest.raises(UserError, match="it asks for"):
            read_official_pickle(path)
    assert (module, name) not in ADMITTED


@pytest.mark.parametrize("opcode", [b"(S'x'\nios\nsystem\n.", b"(cos\nsystem\nS'x'\no.", b"Pname\n.", b"\x82\x01."])
def test_other_ways_to_reach_code_are_shut(tmp_path, opcode):
    refused(tmp_path, opcode)


@pytest.mark.parametrize(
    "content", [b"", b"no pickle", pickle.dumps([1, 2]), pickle.dumps({"v_template": np.zeros((4, 3))})[:-20]]
)
def test_damaged_pickles_are_user_errors(tmp_path, content):
    refused(tmp_path, content)


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


DTYPE = b"(Vf8\nI0\nI1\ntR"  # arguments and the call, behind numpy.dtype
ARRAY = named("numpy.core.multiarray", "_reconstruct") + b"(" + named("numpy", "ndarray") + b"(I0\ntVb\ntR"


def array_pickle(shape, dtype, content):
    """A dict with one array whose state is said opcode by opcode."""
    return b"(dVa\n" + ARRAY + b"(I1\n" + shape + dtype + b"I00\n" + content + b"tbs."


def dtype_of(code, state=b"(I3\nV<\nNNNI-1\nI-1\nI0\ntb"):
    return named("numpy", "dtype") + b"(V" + code + b"\nI0\nI1\ntR" + state


EIGHT = b"C\x08" + bytes(8)


@pytest.mark.parametrize(
    ("shape", "dtype", "content"),
    [
        # bytes as pointers to objects: numpy's own dtype takes these flags from a pickle
        (b"(I1\nt", dtype_of(b"O8", b"(I3\nV|\nNNNI8\nI1\nI0\ntb"), EIGHT),
        (b"(I1\nt", dtype_of(b"V8"), EIGHT),
        (b"(I1\nt", dtype_of(b"f8", b"(I3\nV<\nNN(dI8\nI8\nI0\ntb"), EIGHT),
        (b"(I1\nt", dtype_of(b"f8", b"(I3\nVx\nNNNI-1\nI-1\nI0\ntb"), EIGHT),
        (b"(I-1\nI-1\nt", dtype_of(b"f8"), EIGHT),
        (b"(I2\nt", dtype_of(b"f8"), EIGHT),
        (b"(I999999999999999999\nt", dtype_of(b"f8"), EIGHT),
        (b"(I1\nt", b"N", EIGHT),
        (b"N", dtype_of(b"f8"), EIGHT),
        (b"(I1\nt", dtype_of(b"f8"), b"N"),
        (b"(I1\nt", dtype_of(b"f8"), b"]I1\na"),
    ],
)  # fmt: skip
def test_an_array_that_is_not_what_it_says_is_refused(tmp_path, shape, dtype, content):
    path = tmp_path / "body.pkl"
    path.write_bytes(array_pickle(b"(I1\nt", dtype_of(b"f8"), EIGHT))
    assert read_official_pickle(path)["a"].tolist() == [0.0]  # the template itself is right
    path.write_bytes(array_pickle(shape, dtype, content))
    with pytest.raises(UserError, match="Nothing in it was executed"):
        read_official_pickle(path)


@pytest.mark.parametrize("damage", ["row", "column", "below", "starts", "huge", "long"])
def test_sparse_matrices_that_point_outside_are_refused(tmp_path, damage):
    """scipy's own conversion would write there."""
    content = official()
    matrix = content["J_regressor"]
    if damage == "row":
        matrix.indices[3] = 10**8
    elif damage == "below":
        matrix.indices[3] = -1
    elif damage == "column":
        content["J_regressor"] = coo(matrix)
        content["J_regressor"].__dict__["col"][3] = 10**8
    elif damage == "starts":
        matrix.indptr[5] = 10**6
    elif damage == "huge":
        matrix._shape = (10**9, 10**9)
    elif damage == "long":
        matrix.data = matrix.data[:-1]
    refused(tmp_path, python2_dumps(content))


@pytest.mark.parametrize("damage", ["index", "shape", "itself", "text", "nothing"])
def test_chumpy_selections_that_cannot_be_are_refused(tmp_path, damage):
    content = official()
    select = content["shapedirs"]
    if damage == "index":
        select.idxs[0] = 10**9
    elif damage == "shape":
        select.preferred_shape = (7, 7)
    elif damage == "itself":
        select.a = select
    elif damage == "text":
        select.a.x = "no array"
    else:
        del select.a
    refused(tmp_path, python2_dumps(content))


@pytest.fixture(scope="module")
def right():
    return python2_dumps(official(vertices=30))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damage_anywhere_is_a_user_error_or_harmless(tmp_path, right, data):
    """Bytes changed in the structure of a right file (the arrays' own bytes can be anything)."""
    content = bytearray(right)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "body.pkl"
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2]))])
    try:
        read_official_pickle(path)
    except UserError as error:
        assert "Nothing in it was executed" in str(error)  # noqa: PT017 - a file may also still be right


def test_the_command_line_refuses_a_poisoned_body_with_exit_code_2(tmp_path):
    witness, path = tmp_path / "ran", tmp_path / "SMPL_FEMALE.pkl"
    path.write_bytes(pickle.dumps({"v_template": Mischief(witness)}))
    done = subprocess.run(
        [sys.executable, "-m", "codebase", "body", "info", str(path)], capture_output=True, text=True,
        env=os.environ, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "it asks for" in done.stderr
    assert "Traceback" not in done.stderr
    assert not witness.exists()
