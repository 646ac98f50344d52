"""The cache of frozen activations: the same losses, at any cut, across stops and full disks."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from support import TINY
from torch import nn

from shiftbench import encoders, feature_cache, files, finetune, seeding, train
from shiftbench.agents.dreamer import DreamerAgent
from shiftbench.encoders.base import Encoder
from shiftbench.envs.pixels import PixelEnv
from shiftbench.errors import ShiftBenchError
from shiftbench.replay import Replay
from shiftbench.specs import AgentSpec

#: Small models of three kinds and our own ones; the others are those of the documentation.
SMALL = ["cnn", "synth", "synth-2", "timm:test_resnet", "timm:test_vit", "timm:test_convnext"]
LARGE = ["timm:convnext_atto", "timm:resnet18", "timm:vit_small_patch14_dinov2"]


def cut(name: str, mode: str) -> tuple[Encoder, finetune.Plan]:
    torch.manual_seed(0)
    # Untrained, its whitening is the identity.
    encoder = encoders.build(name, pretrained=name == "synth-2")
    plan = finetune.plan(encoder, mode)
    finetune.apply(encoder, plan)
    return encoder, plan


@pytest.mark.parametrize("name", [*SMALL, *LARGE])
@pytest.mark.parametrize("mode", ["frozen", "partial"])
def test_halves_give_features_and_gradients_of_the_whole(name, mode):
    encoder, plan = cut(name, mode)
    halves = encoder.cut(plan.boundary, 64)
    image = torch.rand(2, 3, 64, 64)
    wanted, activations = encoder(image), halves.trunk(image)
    assert activations.shape == (2, halves.size)
    assert not activations.requires_grad
    found = halves.head(activations)
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())
    stored = halves.head(activations.half().float())
    assert torch.allclose(stored, wanted, atol=1e-2 * wanted.abs().max().item())
    if not plan.trainable:
        return
    weight = torch.rand_like(wanted)
    parameters = [p for p in encoder.module.parameters() if p.requires_grad]
    for value, other in zip(
        torch.autograd.grad((wanted * weight).sum(), parameters),
        torch.autograd.grad((found * weight).sum(), parameters),
        strict=True,
    ):
        assert torch.allclose(value, other, rtol=1e-3, atol=1e-4 * value.abs().max().item())


def test_nothing_of_the_encoder_runs_where_all_is_frozen():
    encoder, plan = cut("synth", "frozen")
    halves = encoder.cut(plan.boundary, 64)
    activations = halves.trunk(torch.rand(2, 3, 64, 64))
    encoder.module.register_forward_pre_hook(lambda *_: pytest.fail("the encoder ran"))
    assert halves.head(activations) is activations


class Skip(nn.Module):
    """Something of the frame reaches the second block around the first."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return (self.second(self.first(image)) + image).flatten(1)


def test_an_encoder_that_does_not_work_in_halves_is_refused():
    net = Skip()
    blocks = [("first", net.first), ("second", net.second)]
    encoder = Encoder("skip", net, 3 * 64 * 64, nn.Identity(), blocks)
    with pytest.raises(ShiftBenchError, match="'skip' cannot be cut before block 'second'"):
        encoder.cut(1, 64)


def test_signature_follows_the_trunk_alone():
    encoder, plan = cut("synth", "partial")
    halves = encoder.cut(plan.boundary, 64)
    before = halves.signature()
    with torch.no_grad():
        next(encoder.blocks[-1][1].parameters()).add_(1.0)
    assert halves.signature() == before
    with torch.no_grad():
        next(encoder.blocks[0][1].parameters()).add_(1.0)
    assert halves.signature() != before


class Sum:
    """A trunk whose activations are six times the mean of the frame."""

    size = 6

    def signature(self) -> int:
        return 7

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return np.repeat(pixels.mean((1, 2, 3))[:, None], 6, 1).astype(np.float16)


def replay(folder, count=0):
    return Replay(folder, 50, 16, 1, belief=2, categoricals=2, classes=2, count=count)


def fill(buffer, start, stop):
    for i in range(start, stop):
        frame = np.full((16, 16, 3), i % 251, np.uint8)
        extra = {"activations": Sum()(frame[None])[0]} if buffer.cache else {}
        buffer.add(
            pixels=frame, action=[0.0], reward=i, first=False, terminal=False, state=[0, 1],
            belief=[0.0, 0.0], **extra,
        )  # fmt: skip


def check(buffer, count=20):
    batch, _ = buffer.sample(count, 5, np.random.default_rng(0))
    wanted = batch["pixels"].double().mean((2, 3, 4))
    assert batch["activations"].shape == (count, 5, 6)
    assert torch.equal(batch["activations"].double(), wanted[..., None].expand(-1, -1, 6))


def test_activations_go_with_their_frames_around_the_ring(tmp_path):
    buffer = replay(tmp_path)
    buffer.use(feature_cache.FeatureCache(tmp_path, 50, Sum(), 10**6), Sum())
    fill(buffer, 0, 120)
    check(buffer)


def test_what_is_missing_is_computed_and_nothing_else(tmp_path):
    cache = feature_cache.FeatureCache(tmp_path, 50, Sum(), 10**6)
    buffer = replay(tmp_path)
    buffer.use(cache, Sum())
    fill(buffer, 0, 20)
    buffer.cache = None  # a part of the run without it
    fill(buffer, 20, 60)  # overwrites ten rows
    done = []

    def compute(pixels):
        done.append(len(pixels))
        return Sum()(pixels)

    again = replay(tmp_path, count=60)
    again.use(feature_cache.FeatureCache(tmp_path, 50, Sum(), 10**6), compute)
    assert sum(done) == 40
    check(again)
    other = Sum()
    other.signature = lambda: 8  # the trunk has other weights
    again.use(feature_cache.FeatureCache(tmp_path, 50, other, 10**6), compute)
    assert sum(done) == 90


@pytest.mark.parametrize("name", ["activations.bin", "pixels.bin"])
def test_full_disk_costs_the_cache_alone(tmp_path, monkeypatch, capsys, name):
    buffer = replay(tmp_path)
    buffer.use(feature_cache.FeatureCache(tmp_path, 50, Sum(), 10**6), Sum())
    fill(buffer, 0, 10)
    write = files.write_at

    def full(file, data, offset):
        if Path(file.name).name == name and (tmp_path / "activations.bin").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file, data, offset)

    for module in ("replay", "feature_cache"):
        monkeypatch.setattr(f"shiftbench.{module}.write_at", full)
    fill(buffer, 10, 20)
    assert re.search(r"Feature cache: off.*No space left", capsys.readouterr().err)
    assert not (tmp_path / "activations.bin").exists()
    batch, _ = buffer.sample(20, 5, np.random.default_rng(0))
    assert "activations" not in batch
    assert torch.equal(batch["pixels"][..., 0, 0, 0].float(), batch["reward"])
    assert batch["reward"].max() == 19.0


def test_pages_of_the_file_stay_under_the_budget(tmp_path):
    smaps = Path("/proc/self/smaps")
    if not smaps.exists():
        pytest.skip("needs Linux")
    trunk, budget = Sum(), 2 * 10**6
    trunk.size = 50_000  # 100 kB a frame
    cache = feature_cache.FeatureCache(tmp_path, 200, trunk, budget)
    frame = np.zeros((16, 16, 3), np.uint8)
    for i in range(200):
        cache.write(i, frame, np.full(50_000, i, np.float16))
    for start in range(0, 200, 10):
        index = np.arange(start, start + 10)
        assert np.array_equal(cache.read(index)[:, 7], index)
        text = smaps.read_text().partition("activations.bin")[2]
        resident = 1000 * int(re.search(r"Rss:\s+(\d+)", text)[1])
        assert 0 < resident <= budget


def test_settings_that_are_refused():
    spec = AgentSpec("mine", "dreamer", "synth", "frozen", augment="shift")
    with pytest.raises(ShiftBenchError, match=r"--feature-cache 100: .*--augment shift"):
        feature_cache.check(100, spec)
    feature_cache.check("auto", spec)
    feature_cache.check(100, msgspec.structs.replace(spec, augment="none"))


@pytest.mark.parametrize("value", ["0", "-5", "some", "", "1.5"])
def test_flags_are_refused(call, value):
    done = call("train", "--agent", "pvm-frozen", "--steps", 10, "--feature-cache", value)
    assert done.code == 2
    assert "none of auto, off, or megabytes" in done.err


def test_augmentation_excludes_the_cache_by_name(call, tmp_path):
    done = call(
        "train", "--agent", "pvm-frozen", "--augment", "shift", "--steps", 10,
        "--feature-cache", 64, "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.code == 2
    assert "--feature-cache 64" in done.err
    assert "--augment shift" in done.err
    assert not (tmp_path / "out").exists()


def test_a_checksum_is_on_disk_after_its_row(tmp_path, monkeypatch):
    """A power cut must not leave a frame's checksum beside a row that was never written."""
    cache = feature_cache.FeatureCache(tmp_path, 8, Sum(), 10**6)
    files, done, put = {cache._values: "values", cache._sums: "sums"}, [], feature_cache.write_at
    names = {file.fileno(): name for file, name in files.items()}
    monkeypatch.setattr(
        feature_cache, "write_at", lambda file, *rest: done.append(files[file]) or put(file, *rest)
    )
    monkeypatch.setattr(os, "fsync", lambda number: done.append(f"{names[number]} on disk"))
    pixels = np.zeros((2, 4, 4, 3), np.uint8)
    cache.complete(pixels, lambda frames: np.zeros((len(frames), Sum.size), np.float32))
    assert done == ["values", "values", "values on disk", "sums", "sums"]
    cache.flush()
    assert done[-2:] == ["values on disk", "sums on disk"]


# -- with the agent ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def env(short):
    env = PixelEnv(short)
    yield env
    env.close()


def make_agent(task, env, encoder="synth", mode="partial", **fields):
    spec = AgentSpec("tiny", "dreamer", encoder, mode, options=dict(TINY), **fields)
    agent = DreamerAgent(spec, task, env.action_dim, 64, device="cpu")
    return agent


@pytest.fixture
def go(short, env, tmp_path, monkeypatch):
    monkeypatch.setattr(env, "close", lambda: None)

    def go(name, steps, cache, **options):
        agent = make_agent(short, env, **options)
        train.fit(
            agent, lambda: env, steps, 0, tmp_path / name,
            eval_every=10**6, progress=False, cache=cache,
        )  # fmt: skip
        return agent

    return go


def losses(agent, task, env, folder, setting):
    """Losses of a few updates on frames of one episode, the same for any setting."""
    # With this seed no latent is drawn so close to its threshold that float16 changes it.
    agent.begin(1)
    buffer = train._replay(agent, folder, 50, 50, setting)
    pixels = env.reset(1)
    for i in range(10):
        steps = agent.explore(pixels[None], random=True, keep=buffer.cache is not None)
        step = {name: value[0] for name, value in steps.items()}
        buffer.add(pixels=pixels, reward=float(i), first=i == 0, terminal=False, **step)
        pixels = env.step(step["action"])[0]
    rng = seeding.rng(0)
    return buffer, [agent.learn(buffer, rng) for _ in range(3)]


@pytest.mark.parametrize("name", ["synth", "timm:test_resnet", "timm:test_vit"])
@pytest.mark.parametrize("mode", ["frozen", "partial"])
def test_losses_are_those_without_the_cache(short, env, tmp_path, monkeypatch, name, mode):
    build = encoders.build
    monkeypatch.setattr(encoders, "build", lambda n, **o: build(n, **{**o, "pretrained": False}))
    found = []
    for setting in ("off", "auto"):
        agent = make_agent(short, env, name, mode)
        buffer, values = losses(agent, short, env, tmp_path / setting, setting)
        assert (buffer.cache is not None) == (setting == "auto")
        found.append(values)
    for without, cached in zip(*found, strict=True):
        for key, value in without.items():
            assert cached[key] == pytest.approx(value, rel=5e-3, abs=5e-3), key


def test_resumed_with_the_cache_and_with_the_other_setting(go, tmp_path, capsys):
    whole = go("whole", 320, "auto")
    assert "kB a frame" in capsys.readouterr().err
    go("parts", 160, 50)
    parts = go("parts", 320, 50)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, parts.model.state_dict()[name]), name
    go("other", 160, "off")
    other = go("other", 320, "auto")
    back = go("back", 160, "auto")
    back = go("back", 320, "off")
    for agent in (other, back):
        for name, tensor in agent.model.decoder.state_dict().items():
            wanted = whole.model.decoder.state_dict()[name]
            assert torch.allclose(tensor, wanted, atol=0.02), name


def test_nothing_is_stored_where_nothing_is_frozen_or_frames_change(go, tmp_path):
    go("full", 80, "auto", mode="full")
    go("augmented", 80, "auto", augment="shift")
    assert not list(tmp_path.glob("*/replay/activations*"))


def test_it_falls_back_with_a_line_where_it_would_not_fit(go, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(feature_cache, "_free", lambda folder: 10**9)
    go("run", 80, "auto")
    assert re.search(
        r"Feature cache: off, .*kB a frame × \d+ frames = 0 MB .*do not fit",
        capsys.readouterr().err,
    )
    assert not (tmp_path / "run" / "replay" / "activations.bin").exists()


def test_expected_time_counts_the_cache(short, env):
    agent = make_agent(short, env, mode="frozen")
    assert 0.0 < agent.seconds_per_step(env, cache="off") < 5.0
    assert 0.0 < agent.seconds_per_step(env, cache="auto") < 5.0
