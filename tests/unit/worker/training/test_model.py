import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from common.schema import BLOCK
from tests.unit.worker.training.fakes import FixedLearner
from worker.training.model import ParameterVector, schema_of


def numpy_tensor(*shape):
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


def torch_tensor(*shape):
    return torch.from_numpy(numpy_tensor(*shape)).clone().requires_grad_(True)


def copied_tensor(*shape):
    """A torch tensor that cannot be shared with numpy, as on another device."""
    tensor = torch_tensor(*shape)
    return tensor.as_subclass(_Elsewhere)


class _Elsewhere(torch.Tensor):
    @property
    def device(self):  # type: ignore[override]  # torch's own cannot be made here
        return _Device()


class _Device:
    type = "elsewhere"


KINDS = pytest.mark.parametrize("make", [numpy_tensor, torch_tensor, copied_tensor])


def values(tensor):
    return tensor if isinstance(tensor, np.ndarray) else tensor.detach().numpy()


def whole(vector):
    return vector.read(0, vector.schema.length, np.empty(vector.schema.length, np.float32))


@KINDS
def test_parameters_lie_in_order_then_padding_then_buffers(make):
    learner = FixedLearner({"b": make(2, 3), "a": make(4)}, {"mean": numpy_tensor(5)})
    vector = ParameterVector(learner)
    expected = np.zeros(2 * BLOCK, np.float32)
    expected[:10] = [1, 2, 3, 4, 5, 6, 1, 2, 3, 4]
    expected[BLOCK : BLOCK + 5] = [1, 2, 3, 4, 5]

    assert [t.name for t in vector.schema.parameters] == ["b", "a"]
    assert np.array_equal(whole(vector), expected)


@KINDS
def test_what_is_written_is_what_the_learner_has(make):
    learner = FixedLearner({"a": make(2, 3), "b": make(4)})
    vector = ParameterVector(learner)

    vector.write(4, np.array([50, 60, 70, 80], np.float32))

    assert values(learner.held["a"]).tolist() == [[1, 2, 3], [4, 50, 60]]
    assert values(learner.held["b"]).tolist() == [70, 80, 3, 4]


@KINDS
def test_what_is_added_is_added_in_place(make):
    learner = FixedLearner({"a": make(2, 3), "b": make(4)})
    vector = ParameterVector(learner)

    vector.add(5, np.array([10, 20, 30], np.float32))

    assert values(learner.held["a"]).tolist() == [[1, 2, 3], [4, 5, 16]]
    assert values(learner.held["b"]).tolist() == [21, 32, 3, 4]


def test_padding_swallows_what_is_written_and_reads_as_zero():
    vector = ParameterVector(FixedLearner({"a": numpy_tensor(3)}))

    vector.write(0, np.full(BLOCK, 7, np.float32))
    vector.add(0, np.full(BLOCK, 1, np.float32))

    assert whole(vector)[:4].tolist() == [8, 8, 8, 0]


@given(st.integers(0, BLOCK), st.integers(0, BLOCK))
def test_any_window_reads_as_the_slice_of_the_whole(a, b):
    start, stop = min(a, b), max(a, b)
    vector = ParameterVector(
        FixedLearner({"a": numpy_tensor(40, 50), "b": numpy_tensor(7), "c": numpy_tensor(900)})
    )
    out = np.full(stop - start, np.nan, np.float32)

    assert np.array_equal(vector.read(start, stop, out), whole(vector)[start:stop])


def test_a_window_outside_the_vector_is_an_error():
    vector = ParameterVector(FixedLearner({"a": numpy_tensor(3)}))

    with pytest.raises(ValueError, match="outside"):
        vector.write(BLOCK - 1, np.zeros(2, np.float32))


@KINDS
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_value_that_is_not_finite_is_found(make, value):
    vector = ParameterVector(FixedLearner({"a": make(300), "b": make(4)}))
    assert vector.is_finite()

    vector.write(303, np.array([value], np.float32))

    assert not vector.is_finite()


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (np.zeros(3), "'a' is float64"),
        (torch.zeros(3, dtype=torch.bfloat16), "'a' is bfloat16"),
        (np.zeros((3, 4), np.float32).T, "contiguous"),
        (torch.zeros(3, 4).T, "contiguous"),
    ],
)
def test_a_tensor_that_cannot_be_trained_in_place_is_refused_by_name(tensor, message):
    with pytest.raises(ConfigError, match=message):
        schema_of(FixedLearner({"a": tensor}))


@pytest.mark.parametrize("make", [numpy_tensor, torch_tensor])
def test_tied_weights_given_twice_are_refused_by_name(make):
    weight = make(4, 4)

    with pytest.raises(ConfigError, match=r"'head' is 'embedding' again"):
        schema_of(FixedLearner({"embedding": weight, "head": weight}))


def test_constants_are_told_apart_by_value_shape_and_type():
    def hash_of(constant):
        return schema_of(FixedLearner({"a": numpy_tensor(3)}, constants={"ids": constant})).hash

    ids = np.arange(6)
    others = [ids + 1, ids.reshape(2, 3), ids.astype(np.int32)]

    assert hash_of(ids) == hash_of(torch.arange(6)) == hash_of(np.arange(6).astype(">i8"))
    assert len({hash_of(c) for c in [ids, *others]}) == 4
