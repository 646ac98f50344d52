"""`cnn`, `synth` and `synth-2`, their weight files, and what every encoder promises."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from shiftbench import encoders
from shiftbench.encoders import loading, synth
from shiftbench.errors import ShiftBenchError

NAMES = ["cnn", "synth", "synth-2", "timm:test_resnet", "timm:test_vit"]


def save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def no_files(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("weights were looked for")

    monkeypatch.setattr(loading, "read", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("name", NAMES)
def test_an_untrained_encoder_needs_no_file_and_maps_frames_to_features(name, frames, no_files):
    encoder = encoders.build(name, pretrained=False)
    features = encoder(frames)
    assert features.shape == (3, encoder.features)
    assert features.dtype == torch.float32
    assert torch.isfinite(features).all()
    assert (encoder.name, encoder.pretrained, encoder.sha256) == (name, False, "")


@pytest.mark.parametrize("name", NAMES)
def test_a_frame_has_the_same_features_alone_and_in_a_batch_while_training(name, frames):
    encoder = encoders.build(name, pretrained=False)
    encoder.module.train()
    before = {k: v.clone() for k, v in encoder.module.named_buffers()}
    together = encoder(frames)
    alone = torch.cat([encoder(frame[None]) for frame in frames])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)
    for key, value in encoder.module.named_buffers():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", NAMES)
def test_blocks_are_ordered_parts_of_the_module(name):
    encoder = encoders.build(name, pretrained=False)
    place = {id(p): i for i, p in enumerate(encoder.module.parameters())}
    groups = [[place[id(p)] for p in block.parameters()] for _, block in encoder.blocks]
    assert len({name for name, _ in encoder.blocks}) == len(encoder.blocks) >= 4
    assert all(groups)
    flat = [index for group in groups for index in group]
    assert len(flat) == len(set(flat))
    assert flat == sorted(flat)


@pytest.mark.parametrize("name", ["cnn", "synth", "synth-2"])
def test_small_encoders_hold_at_most_half_a_million_parameters(name):
    module = encoders.build(name, pretrained=False).module
    assert sum(p.numel() for p in module.parameters()) <= 500_000


def test_an_image_size_is_met_by_the_network_or_by_a_resize():
    small, large = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 96, 96)
    cnn = encoders.build("cnn", image_size=96, pretrained=False)
    assert cnn(large).shape == (2, cnn.features)
    own = encoders.build("synth", image_size=96, pretrained=False)
    assert own(large).shape == own(small).shape == (2, own.features)


def test_unknown_names_say_what_there_is():
    with pytest.raises(ShiftBenchError, match=r"'synht' for --encoder.*'synth'.*cnn, synth"):
        encoders.build("synht")


def test_cnn_has_no_weights_but_given_ones(tmp_path, frames):
    with pytest.raises(ShiftBenchError, match="'cnn' has no pre-trained weights.*scratch"):
        encoders.build("cnn")
    made = encoders.build("cnn", pretrained=False)
    path = tmp_path / "cnn.safetensors"
    save(made.module.state_dict(), path)
    read = encoders.build("cnn", weights=path)
    assert read.pretrained
    assert len(read.sha256) == 64
    torch.testing.assert_close(read(frames), made(frames))


def test_weights_and_no_pretraining_contradict_each_other(tmp_path):
    with pytest.raises(ShiftBenchError, match="--encoder-weights"):
        encoders.build("synth", weights=tmp_path / "any", pretrained=False)


def test_only_timm_models_take_an_input_size():
    with pytest.raises(ShiftBenchError, match="only timm"):
        encoders.build("cnn", pretrained=False, input_size=96)


class TestBadWeights:
    @pytest.fixture
    def good(self) -> dict[str, torch.Tensor]:
        return dict(encoders.build("synth", pretrained=False).module.state_dict())

    def attempt(self, tmp_path, tensors) -> str:
        path = tmp_path / "weights.safetensors"
        save(tensors, path)
        with pytest.raises(ShiftBenchError) as caught:
            encoders.build("synth", weights=path)
        message = str(caught.value)
        assert message.startswith(f"--encoder-weights {path}")
        assert "\n" not in message
        return message

    def test_first_missing_and_unexpected_tensor_are_named(self, tmp_path, good):
        good["stem.weight"] = good.pop("chain.stem.body.0.weight")
        message = self.attempt(tmp_path, good)
        assert "1 tensors are missing, the first 'chain.stem.body.0.weight'" in message
        assert "1 are unexpected, the first 'stem.weight'" in message

    def test_a_wrong_shape_is_named(self, tmp_path, good):
        good["mean"] = torch.zeros(7)
        assert "'mean' has shape (7,), not (2048,)" in self.attempt(tmp_path, good)

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a pickle", None])
    def test_what_is_no_safetensors_file_is_refused(self, tmp_path, content):
        path = tmp_path / "weights.pt"
        if content is not None:
            path.write_bytes(content)
        why = "no such file" if content is None else "not a complete safetensors file"
        with pytest.raises(ShiftBenchError, match=f"--encoder-weights {path}: {why}"):
            encoders.build("synth", weights=path)

    def test_a_truncated_file_is_refused(self, tmp_path, good):
        path = tmp_path / "weights.safetensors"
        save(good, path)
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(ShiftBenchError, match="not a complete safetensors file"):
            encoders.build("synth", weights=path)


def test_half_precision_weights_are_used_in_single_precision(tmp_path, frames):
    made = encoders.build("synth", pretrained=False)
    for parameter in made.module.parameters():
        nn.init.normal_(parameter, std=0.1)
    path = tmp_path / "half.safetensors"
    tensors = made.module.state_dict()
    # As shipped: half precision, and without the counts that only training reads.
    save({k: v.half() for k, v in tensors.items() if not k.endswith("tracked")}, path)
    read = encoders.build("synth", weights=path)
    assert {p.dtype for p in read.module.parameters()} == {torch.float32}
    for name, tensor in read.module.state_dict().items():
        assert torch.equal(tensor, load_file(path).get(name, tensor).to(tensor.dtype)), name


@pytest.mark.parametrize(("name", "other"), [("synth", "synth-2"), ("synth-2", "synth")])
def test_weights_of_the_other_shipped_encoder_are_named(name, other):
    path = synth.WEIGHTS[other]
    with pytest.raises(ShiftBenchError, match=rf"'{other}', not '{name}': give --encoder {other}"):
        encoders.build(name, weights=path)
