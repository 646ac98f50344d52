import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from shiftbench import checkpoints
from shiftbench.errors import ShiftBenchError


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.safetensors"
    checkpoints.write(path, {"a": torch.arange(1000.0)}, {"task": "t"})
    return path


def test_round_trip(good):
    tensors, meta = checkpoints.read(good)
    assert torch.equal(tensors["a"], torch.arange(1000.0))
    assert meta == {"schema": checkpoints.SCHEMA, "task": "t"}
    assert list(good.parent.iterdir()) == [good]


@pytest.mark.parametrize("keep", [0, 4, 100, -100])
def test_truncated(good, keep):
    good.write_bytes(good.read_bytes()[:keep])
    with pytest.raises(ShiftBenchError, match="not a complete safetensors file"):
        checkpoints.read(good)


def test_pickle_is_not_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("boom").write_text, ("x",))

    path = tmp_path / "bad.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ShiftBenchError, match="not a complete safetensors"):
        checkpoints.read(path)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, "not written by shiftbench"),
        ({"shiftbench": "{"}, "not written by shiftbench"),
        ({"shiftbench": json.dumps({"schema": checkpoints.SCHEMA + 1})}, "newer"),
    ],
)
def test_foreign_and_newer(tmp_path, header, expected):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata=header)
    with pytest.raises(ShiftBenchError, match=expected):
        checkpoints.read_meta(path)


def test_missing_and_unwritable(tmp_path):
    with pytest.raises(ShiftBenchError, match="no such file"):
        checkpoints.read_meta(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(ShiftBenchError, match="cannot be written"):
        checkpoints.write(tmp_path / "file" / "x", {"a": torch.zeros(1)}, {})
