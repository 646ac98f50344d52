"""The benchmark of the learner runs and judges; its timings are not judged here."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from learner import filled, learn, learner

from shiftbench import seeding
from shiftbench.errors import ShiftBenchError
from shiftbench.specs import AgentSpec

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "learner.py"


@pytest.fixture
def benchmark(monkeypatch):
    """The script as a module; ``learner`` is another one here."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location("learner_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_it_times_all_learners_and_fills_the_page(tmp_path):
    page, numbers = tmp_path / "page.md", tmp_path / "numbers.json"
    page.write_text("<!-- learner -->\n<!-- /learner -->\n")
    options = ["--agent", "pvm-frozen", "--size", "xs", "--blocks", "1", "--seconds", "0"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *options, "--json", numbers, "--out", page],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(numbers.read_text())["rows"]
    assert set(row["seconds"]) == {"ours", "torchrl", "our decoder"}
    assert row["speedup"] == pytest.approx(row["seconds"]["torchrl"] / row["seconds"]["ours"])
    assert "pvm-frozen xs" in page.read_text()


def test_what_is_timed_on_a_gpu_alone_is_compiled_in_both_precisions(benchmark, tmp_path):
    work = benchmark.learners("pvm-frozen", "xs", tmp_path, "cpu", benchmark.ON_CUDA_ARMS)
    assert list(work) == ["ours", "torchrl", "compiled", "compiled, bfloat16"]
    precisions = {arm: once.__defaults__[0].config.precision for arm, once in work.items()
                  if arm != "torchrl"}  # fmt: skip
    assert precisions["compiled, bfloat16"] == "bfloat16"
    assert precisions["ours"] == precisions["compiled"] == "float32"
    compiled = {arm for arm in precisions if work[arm].__defaults__[0].model.compiled}
    assert compiled == set(benchmark.PRECISION)


@pytest.mark.slow
def test_runs_side_by_side_are_timed_together(benchmark, tmp_path):
    alone, both = benchmark.side_by_side("pvm-frozen", "xs", "cpu", 2, 1.0, tmp_path)
    assert (alone["runs"], both["runs"]) == (1, 2)
    assert min(alone["together"], both["together"]) > 0.5  # not one after the other
    assert alone["per_second"] == pytest.approx(1e3 / alone["ms"])
    assert alone["use"] is None  # nobody asks about a GPU
    page = benchmark.table_beside([alone, both])
    assert "| pvm-frozen xs (cpu) | 2 |" in page


@pytest.mark.slow
def test_a_learner_that_fails_beside_others_is_said(benchmark, tmp_path):
    what = benchmark.Learners("pvm-frozen", "xs", "cpu")
    (tmp_path / "1").write_text("no folder")
    with pytest.raises(ShiftBenchError, match="one of 2 learners failed.*cannot be stored"):
        benchmark.updates(what, 2, 0.5, tmp_path)
    assert not multiprocessing.active_children()
    with pytest.raises(ShiftBenchError, match="pvm-frozen xs: one of 1 learners failed: it ended"):
        benchmark.updates(what._replace(device="meta"), 1, 0.5, tmp_path / "2")


@pytest.mark.parametrize("compiled", [None, 1.5])
@pytest.mark.parametrize("cuda", [False, True])
def test_every_line_of_the_table_has_a_cell_a_column(benchmark, compiled, cuda):
    row = {
        "agent": "scratch", "size": "xs", "goal": 1.5, "speedup": 1.6, "speedup_of_blocks": [1.6],
        "seconds": {"ours": 1.0, "torchrl": 1.6, "our decoder": 1.3},
        "speedup_with_our_decoder": 1.3, "speedup_compiled": compiled,
    }  # fmt: skip
    if cuda:
        row["cuda_ms"] = dict.fromkeys(benchmark.ON_CUDA_ARMS, 1.0)
    head, _, line = benchmark.table([row]).splitlines()
    assert head.count("|") == line.count("|")


@pytest.mark.parametrize(("encoder", "mode"), [("cnn", "scratch"), ("synth", "partial")])
def test_torchrl_learns_the_same_with_the_same_parts(benchmark, cartpole, tmp_path, encoder, mode):
    spec = AgentSpec("any", "dreamer", encoder, mode)
    sizes = {"batch": 8, "length": 8, "warmup": 1, "belief": 32}
    ours, theirs = (learner(spec, cartpole, **sizes) for _ in range(2))
    before = {name: t.clone() for name, t in theirs.model.acting.encoder.state_dict().items()}
    peer = benchmark.TorchRL(theirs, ours=True)
    replays = [filled(agent, tmp_path / str(i)) for i, agent in enumerate((ours, theirs))]
    # Only ours puts the mean frame into its decoders.
    replays[0].mean_frame = lambda: np.full((64, 64, 3), 127.5)
    wanted, rng = learn(ours, replays[0], 1), seeding.rng(2)
    found = peer.learn(replays[1], rng)
    weight = ours.config.first_image_weight
    # Latents are drawn, so these are estimates of the same numbers.
    assert found["loss_model_reco"] == pytest.approx(weight * wanted["image_loss"], rel=0.03)
    features = wanted.get("feature_image_loss")
    shown = found.get("loss_model_features")
    assert shown == (features and pytest.approx(weight * features, rel=0.03))
    assert found["loss_model_reward"] == pytest.approx(wanted["reward_loss"], rel=0.03)
    assert found["loss_model_continue"] == pytest.approx(wanted["continuation_loss"], rel=0.2)
    for _ in range(3):  # the first has learning rate 0
        peer.learn(replays[1], rng)
    after = theirs.model.acting.encoder.state_dict()
    changed = [name for name, tensor in after.items() if not torch.equal(tensor, before[name])]
    assert changed == list(theirs.model.plan.trainable)
    assert replays[1].arrays["belief"].any()


def test_missed_goals_are_named(benchmark):
    rows = [
        {"agent": "a", "size": "xs", "speedup": 1.4, "goal": 1.5},
        {"agent": "b", "size": "s", "speedup": 1.6, "goal": 1.5},
        {"agent": "c", "size": "s", "speedup": 0.9, "goal": 0.0},
    ]
    assert [line.split(":")[0] for line in benchmark.missed(rows)] == ["a xs"]


@pytest.mark.parametrize(
    "options",
    [
        ["--blocks", "0"],
        ["--beside", "-1"],
        ["--threads", "0"],
        ["--seconds", "nan"],
        ["--agent", "random"],
        ["--out", "nowhere.md"],
    ],
)
def test_wrong_options_are_refused(benchmark, monkeypatch, options):
    monkeypatch.setattr(sys, "argv", ["learner.py", *options])
    with pytest.raises(SystemExit) as end:
        benchmark.main()
    assert end.value.code == 2
