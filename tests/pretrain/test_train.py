"""The whole run at a toy size: it learns, resumes where it stopped, and ships what it says."""

import csv
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from shiftbench import encoders, pretrain
from shiftbench.encoders import synth
from shiftbench.errors import ShiftBenchError
from shiftbench.pretrain import shards, train

SETTINGS = {"scenes": 16, "views": 96, "seed": 3, "progress": False}


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setattr(shards, "SCENES", 8)
    monkeypatch.setattr(shards, "BACKGROUNDS", 4)
    monkeypatch.setattr(shards, "_FLAT", 4)
    monkeypatch.setattr(shards, "_SOLID", 3)
    monkeypatch.setattr(shards.render, "__defaults__", (8,))
    monkeypatch.setattr(train, "BATCH", 8)
    monkeypatch.setattr(train, "LOG_EVERY", 1)
    monkeypatch.setattr(train, "SAVE_EVERY", 2)
    monkeypatch.setattr(train, "HELD_OUT", 1)
    monkeypatch.setattr(train, "CENTRING", 2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder for the run that nothing interrupts, filled by the first test that asks."""
    return tmp_path_factory.mktemp("pretrain")


def finished(folder):
    return pretrain.run(folder, **SETTINGS, resume=True)


def curve(folder) -> list[dict[str, str]]:
    with (folder / train.CURVE).open(newline="") as file:
        return list(csv.DictReader(file))


def test_it_writes_weights_that_synth_2_loads_with_card_and_curve(whole):
    path = finished(whole)
    assert path == whole / "synth-2.safetensors"
    encoder = encoders.build("synth-2", weights=path)
    assert encoder.pretrained
    assert {t.dtype for t in load_file(path).values()} == {torch.float16}

    card = json.loads((whole / train.CARD).read_text())
    assert card["command"] == "shiftbench pretrain --seed 3 --scenes 16 --views 96"
    assert (card["seed"], card["views"], card["steps"]) == (3, 96, 6)
    assert card["license"] == "MIT"
    assert card["bytes"] == path.stat().st_size < 1_000_000
    assert card["parameters"] < 500_000

    rows = curve(whole)
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert int(rows[-1]["views"]) == 96
    assert [bool(row["held_out_mask"]) for row in rows] == [False, True] * 3
    assert all(float(row["total"]) > 0.0 for row in rows)


def test_features_are_centred_and_appearance_moves_all_of_them_alike(whole):
    encoder = encoders.build("synth-2", weights=finished(whole))
    learner = train.Learner(train.Settings(16, 96, 3), "cpu")
    pool = train.Pool(whole / "scenes" / "seed-3", range(2))
    batches = [learner.batch(pool, "centring", i)[0].images for i in range(2)]
    with torch.no_grad():
        views = [[encoder(view) for view in images.chunk(2)] for images in batches]
        bare = [[encoder.module.maps(encoder.transform(v)) for v in i.chunk(2)] for i in batches]
    first, second = (torch.cat(side) for side in zip(*views, strict=True))
    features = torch.cat([first, second])
    assert features.mean(0).abs().max() < 0.05
    assert features.var(0, correction=0).mean().sqrt() == pytest.approx(1.0, abs=0.02)

    def unevenness(maps):
        """How much more appearance moves one mixture of channels, or of places, than another."""
        found = []
        for samples in (maps.transpose(0, 1).flatten(1), maps.transpose(0, 2).flatten(1)):
            size = torch.linalg.eigvalsh(samples @ samples.T)
            found.append(float(size.max() / size.mean()))
        return found

    apart = torch.cat([(a - b).flatten(2) for a, b in bare])
    before, after = unevenness(apart), unevenness((first - second).unflatten(1, (32, -1)))
    assert all(now < 0.5 * then for now, then in zip(after, before, strict=True))


def test_an_interrupted_run_ends_as_if_nothing_had_happened(whole, tmp_path, monkeypatch):
    expected = load_file(finished(whole))
    step = train.Learner.step

    def stop(self, index, pool):
        if index == 3:
            raise KeyboardInterrupt
        return step(self, index, pool)

    monkeypatch.setattr(train.Learner, "step", stop)
    with pytest.raises(KeyboardInterrupt):
        pretrain.run(tmp_path, **SETTINGS)
    assert not (tmp_path / train.WEIGHTS).exists()
    assert len(curve(tmp_path)) == 2
    monkeypatch.setattr(train.Learner, "step", step)
    with pytest.raises(ShiftBenchError, match="--resume"):
        pretrain.run(tmp_path, **SETTINGS)
    actual = load_file(pretrain.run(tmp_path, **SETTINGS, resume=True))
    for name, tensor in expected.items():
        assert torch.equal(actual[name], tensor), name
    assert curve(tmp_path) == curve(whole)


def test_other_settings_do_not_continue_a_run(whole):
    finished(whole)
    with pytest.raises(ShiftBenchError, match="has views 96, not 160.*--out"):
        pretrain.run(whole, **{**SETTINGS, "views": 160}, resume=True)


def test_a_broken_state_is_named(tmp_path):
    (tmp_path / "state.safetensors").write_bytes(b"nothing")
    with pytest.raises(ShiftBenchError, match=r"state\.safetensors: broken state"):
        pretrain.run(tmp_path, **SETTINGS, resume=True)


def test_a_state_of_another_network_is_refused(whole, tmp_path):
    finished(whole)
    state = load_file(whole / "state.safetensors")
    with safe_open(whole / "state.safetensors", "pt") as file:
        metadata = file.metadata()
    state["net.std"] = state.pop("net.places")
    save_file(state, tmp_path / "state.safetensors", metadata)
    with pytest.raises(
        ShiftBenchError, match=r"another --out.*another architecture.*'net.places'.*'net.std'"
    ):
        pretrain.run(tmp_path, **SETTINGS, resume=True)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"scenes": 0}, "--scenes 0"),
        ({"views": 0}, "--views 0"),
        ({"seed": -1}, "--seed -1"),
        ({"device": "abacus"}, "--device abacus"),
    ],
)
def test_bad_numbers_leave_nothing_behind(tmp_path, bad, message):
    folder = tmp_path / "run"
    with pytest.raises(ShiftBenchError, match=message):
        pretrain.run(folder, **{**SETTINGS, **bad})
    assert not folder.exists()


def test_an_unwritable_folder_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(
        ShiftBenchError, match=f"--out {blocked}/run: nothing can be written in {blocked}"
    ):
        pretrain.run(blocked / "run", **SETTINGS)


def test_it_learns_from_a_handful_of_scenes(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "WARMUP", 1)
    monkeypatch.setattr(train, "SAVE_EVERY", 40)
    pretrain.run(tmp_path, scenes=8, views=40 * 16, seed=0, progress=False)
    rows = curve(tmp_path)
    for name in ("mask", "edges", "depth"):
        early = sum(float(row[name]) for row in rows[:5])
        late = sum(float(row[name]) for row in rows[-5:])
        assert late < 0.92 * early, name


@pytest.mark.parametrize("name", synth.WEIGHTS)
def test_the_shipped_weights_are_small_and_described(name):
    path = synth.WEIGHTS[name]
    card = json.loads(path.with_suffix(".json").read_text())
    tensors = load_file(path)
    assert card["name"] == name
    # The two differ in what stands behind the network alone.
    for key, tensor in load_file(synth.WEIGHTS["synth"]).items():
        assert not key.startswith("chain.") or torch.equal(tensor, tensors[key])
    assert path.stat().st_size == card["bytes"] <= 1_000_000
    assert {t.dtype for t in tensors.values()} == {torch.float16}
    assert all(torch.isfinite(t).all() for t in tensors.values())
    assert (path.parent / card["loss_curve"]).is_file()
    encoder = encoders.build(name)
    assert sum(p.numel() for p in encoder.module.parameters()) == card["parameters"] <= 500_000
    assert len(encoder.sha256) == 64
