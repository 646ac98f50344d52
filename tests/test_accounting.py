"""Where time and memory went."""

import time
from types import SimpleNamespace

import msgspec
import pytest
import torch

from shiftbench import accounting, devices
from shiftbench.agents.config import Config
from shiftbench.errors import ShiftBenchError
from shiftbench.specs import AgentSpec


def test_work_inside_other_work_counts_once():
    clock = accounting.Clock()

    class Tool:
        def work(self):
            time.sleep(0.02)
            return 5

    tool = Tool()
    start = time.perf_counter()
    with clock.watching(tool, "work", "inner"), clock("outer"):
        time.sleep(0.01)
        assert tool.work() == 5
    total = time.perf_counter() - start
    assert "work" not in vars(tool)
    assert clock.seconds["inner"] >= 0.02
    assert clock.seconds["outer"] >= 0.01
    assert sum(clock.seconds.values()) == pytest.approx(total, abs=0.01)
    # Shares of a time that holds more than what was clocked.
    kinds = dict(part.rsplit(" ", 2)[:2] for part in clock.summary(2 * total).split(", "))
    assert int(kinds.pop("other")) in (50, 51)
    assert kinds.keys() == clock.seconds.keys()
    assert sum(map(int, kinds.values())) in (49, 50, 51)


def test_memory_is_that_of_this_process():
    text = accounting.memory()
    assert float(text.split()[2]) > 0.05


@pytest.mark.parametrize(
    ("spec", "flags"),
    [
        (AgentSpec("a", "dreamer", "cnn", "scratch"), "lower --jobs, or"),
        (AgentSpec("a", "dreamer", options={"size": "s"}), "lower --jobs, --size, or"),
        (
            AgentSpec("a", "dreamer", "timm:resnet18", "partial"),
            "lower --jobs, --encoder-size, --finetune-blocks, or",
        ),
    ],
)
def test_a_full_device_says_what_to_lower(cartpole, spec, flags):
    agent = SimpleNamespace(
        spec=spec, config=msgspec.convert({"batch": 7}, Config), task=cartpole, train_steps=900
    )
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")
    text = str(accounting.out_of_memory(error, agent, 500))
    assert flags in text
    for part in ("cartpole_balance", "step 900", "(CUDA out of memory)", "batch (7)", "step 500"):
        assert part in text


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (MemoryError("Unable to allocate 2.00 GiB for an array"), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (torch.AcceleratorError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_full_memory(error, full):
    assert accounting.is_full(error) == full


def test_a_device_that_others_fill_is_told_from_one_that_is_not_there(monkeypatch):
    def empty(*_, device):
        raise torch.AcceleratorError(
            "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"
        )

    with pytest.raises(ShiftBenchError) as absent:
        devices.usable("nonsense")
    monkeypatch.setattr(torch, "empty", empty)
    with pytest.raises(ShiftBenchError, match="^--device cuda: .* out of memory; .*--jobs") as full:
        devices.usable("cuda")
    assert "--jobs" not in str(absent.value)
    assert "\n" not in str(full.value)


def test_main_memory_that_is_really_full(cartpole):
    spec = AgentSpec("a", "dreamer")
    agent = SimpleNamespace(spec=spec, config=Config(), task=cartpole, train_steps=0)
    what = pytest.raises(ShiftBenchError, match="out of memory .* lower --jobs")
    with what, accounting.naming_memory(agent):
        torch.empty(2**60)
