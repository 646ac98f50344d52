"""`timm:<name>`: sizes, features, blocks and weights, on timm's own tiny test models."""

import math

import pytest
import torch
from safetensors.torch import save_file

from shiftbench import encoders, finetune
from shiftbench.encoders import loading, timm_models
from shiftbench.encoders.timm_models import timm
from shiftbench.errors import ShiftBenchError


def blocks(name: str) -> list[str]:
    return [label for label, _ in encoders.build(f"timm:{name}", pretrained=False).blocks]


def test_convolutional_blocks_leave_out_the_stem():
    stages = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert blocks("resnet18") == stages


def test_a_downsampling_layer_belongs_to_the_block_after_it():
    labels = blocks("convnext_atto")
    assert len(labels) == 12
    assert labels[2] == "stages.1.downsample,stages.1.blocks.0"
    assert not any("head" in label or "stem" in label for label in labels)


def test_dinov2_takes_224_px_and_gives_patch_tokens_and_twelve_blocks():
    encoder = encoders.build("timm:vit_small_patch14_dinov2", pretrained=False)
    assert encoder.transform.size == 224
    assert encoder.module.kind == "patch"
    assert encoder.features == (224 // 14) ** 2 * 384
    assert [label for label, _ in encoder.blocks] == [f"blocks.{i}" for i in range(12)]
    # Embeddings and the final norm are in no block.
    inside = {id(p) for _, block in encoder.blocks for p in block.parameters()}
    outside = {n for n, p in encoder.module.named_parameters() if id(p) not in inside}
    assert outside == {
        "net.cls_token",
        "net.pos_embed",
        "net.patch_embed.proj.weight",
        "net.patch_embed.proj.bias",
        "net.norm.weight",
        "net.norm.bias",
    }


def test_the_model_says_how_frames_are_prepared():
    encoder = encoders.build("timm:test_vit", pretrained=False)
    config = timm.get_pretrained_cfg("test_vit")
    assert encoder.transform.size == config.input_size[-1] == 160
    white = encoder.transform(torch.ones(1, 3, 64, 64))
    assert white.shape == (1, 3, 160, 160)
    expected = [(1 - m) / s for m, s in zip(config.mean, config.std, strict=True)]
    torch.testing.assert_close(white[0].mean((1, 2)), torch.tensor(expected))


@pytest.mark.parametrize(
    ("name", "kind", "features"),
    [
        ("test_vit", "pooled", 64),
        ("test_vit", "patch", 64 * 100),
        ("test_resnet", "map", 16 * 96),
        ("test_resnet", "pooled", 96),
    ],
)
def test_kinds_of_features(name, kind, features):
    encoder = timm_models.build(name, pretrained=False, features=kind)
    assert encoder.features == features
    assert encoder(torch.rand(2, 3, 64, 64)).shape == (2, features)


#: Model → size of its input in pixels, features and their number, and its blocks.
MODELS = {
    "resnet18": (224, "map", 16 * 512, 8),
    "convnext_atto": (224, "map", 16 * 320, 12),
    "mobilenetv4_conv_small": (224, "map", 16 * 960, 17),
    "vit_small_patch14_dinov2": (224, "patch", 256 * 384, 12),
    "vit_base_patch32_clip_quickgelu_224.openai": (224, "pooled", 768, 12),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_models_that_people_use(name):
    size, kind, features, count = MODELS[name]
    encoder = encoders.build(f"timm:{name}", pretrained=False)
    assert (encoder.transform.size, encoder.module.kind) == (size, kind)
    assert (encoder.features, len(encoder.blocks)) == (features, count)
    with torch.no_grad():
        assert encoder(torch.rand(1, 3, 64, 64)).shape == (1, features)
    plan = finetune.plan(encoder, "partial")
    assert plan.boundary == count - math.ceil(count / 3)
    wanted = sum(len(list(b.parameters())) for _, b in encoder.blocks[plan.boundary :])
    assert len(plan.trainable) == wanted
    with pytest.raises(ShiftBenchError, match=f"--finetune-blocks {count + 1}: .* {count} blocks"):
        finetune.plan(encoder, "partial", count + 1)
    assert len(finetune.plan(encoder, "lora").adapted) >= count


def test_another_input_size_is_the_models_alone():
    encoder = encoders.build("timm:resnet18", pretrained=False, input_size=64, features="pooled")
    assert (encoder.transform.size, encoder.features) == (64, 512)
    assert encoder(torch.rand(2, 3, 96, 96)).shape == (2, 512)


def test_weights_in_the_format_of_openai_are_converted_by_timm(tmp_path):
    source = timm.create_model("vit_xsmall_patch16_clip_224").state_dict()
    names = {
        "patch_embed.proj": "conv1", "pos_embed": "positional_embedding",
        "blocks.": "transformer.resblocks.", "norm_pre": "ln_pre", "norm1": "ln_1",
        "norm2": "ln_2", "norm.": "ln_post.", "attn.proj": "attn.out_proj", "qkv.": "in_proj_",
        "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "cls_token": "class_embedding",
        "head.weight": "proj",
    }  # fmt: skip
    shapes = {"cls_token": lambda t: t[0, 0], "pos_embed": lambda t: t[0]}
    shapes["head.weight"] = lambda t: t.T.contiguous()
    tensors = {}
    for name, tensor in source.items():
        theirs = name
        for part, other in names.items():
            theirs = theirs.replace(part, other)
        tensors[f"visual.{theirs}"] = shapes.get(name, lambda t: t)(tensor)
    del tensors["visual.head.bias"]
    path = tmp_path / "open_clip_model.safetensors"
    save_file(tensors, path)
    encoder = encoders.build("timm:vit_xsmall_patch16_clip_224", weights=path)
    for name, tensor in encoder.module.net.state_dict().items():
        assert torch.equal(tensor, source[name]), name


def test_parts_that_the_spatial_map_does_not_need_are_gone():
    encoder = encoders.build("timm:mobilenetv4_conv_small", pretrained=False)
    assert encoder.module.kind == "map"
    names = [name for name, _ in encoder.module.named_parameters()]
    assert not any("head" in name for name in names)
    assert any(name.startswith("net.blocks.4") for name in names)


def test_features_that_a_model_does_not_have_are_refused():
    with pytest.raises(ShiftBenchError, match="no features 'map'"):
        timm_models.build("test_vit", pretrained=False, features="map")
    with pytest.raises(ShiftBenchError, match=r"unknown features 'all'.*pooled"):
        timm_models.build("test_vit", pretrained=False, features="all")


def test_local_weights_go_through_timms_loader(tmp_path):
    source = timm.create_model("test_vit", num_classes=10)
    path = tmp_path / "vit.safetensors"
    save_file(source.state_dict(), path)
    encoder = encoders.build("timm:test_vit", weights=path)
    loaded = encoder.module.net.state_dict()
    assert not any(name.startswith("head") for name in loaded)
    for name, tensor in loaded.items():
        assert torch.equal(tensor, source.state_dict()[name]), name
    assert encoder.pretrained
    assert len(encoder.sha256) == 64


def test_position_embeddings_follow_another_input_size(tmp_path):
    path = tmp_path / "vit.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    encoder = encoders.build("timm:test_vit", weights=path, input_size=96)
    assert encoder.module.net.pos_embed.shape[1] < timm.create_model("test_vit").pos_embed.shape[1]
    assert encoder(torch.rand(1, 3, 64, 64)).shape == (1, encoder.features)


def test_weights_without_a_classifier_fit(tmp_path):
    path = tmp_path / "weights.bin"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), path)
    assert encoders.build("timm:test_resnet", weights=path).pretrained


def test_weights_of_another_architecture_name_the_first_tensors(tmp_path):
    path = tmp_path / "vit.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    with pytest.raises(ShiftBenchError, match="missing, the first 'conv1.*unexpected, the first"):
        encoders.build("timm:test_resnet", weights=path)


def test_a_missing_tensor_is_not_filled_with_noise(tmp_path):
    tensors = timm.create_model("test_vit", num_classes=7).state_dict()
    del tensors["blocks.3.attn.qkv.weight"]
    path = tmp_path / "vit.safetensors"
    save_file(tensors, path)
    with pytest.raises(ShiftBenchError, match=r"first 'blocks\.3\.attn\.qkv\.weight'"):
        encoders.build("timm:test_vit", weights=path)


def test_an_unknown_model_brings_the_nearest_names():
    with pytest.raises(ShiftBenchError, match=r"unknown timm model 'resnet81'.*'timm:resnet18'"):
        encoders.build("timm:resnet81")
    with pytest.raises(ShiftBenchError, match="resnet18.*not_a_tag"):
        encoders.build("timm:resnet18.not_a_tag")


def test_without_a_network_the_file_and_the_flag_are_named(monkeypatch, tmp_path):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ShiftBenchError) as caught:
        encoders.build("timm:test_vit")
    message = str(caught.value)
    assert "https://huggingface.co/timm/test_vit" in message
    assert "--encoder-weights FILE" in message
    assert "\n" not in message


def test_a_file_from_the_hub_has_the_hash_that_it_has_when_given_by_hand(monkeypatch, tmp_path):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    repository = timm.get_pretrained_cfg("test_vit").hf_hub_id
    folder = tmp_path / f"models--{repository.replace('/', '--')}"
    path = folder / "snapshots" / "abc" / "model.safetensors"
    path.parent.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    source = timm.create_model("test_vit").state_dict()
    save_file(source, path)
    cached = encoders.build("timm:test_vit")
    assert torch.equal(cached.module.net.cls_token, source["cls_token"])
    given = encoders.build("timm:test_vit", weights=path)
    assert cached.sha256 == given.sha256 == loading.digest(path)


def test_a_model_of_several_branches_is_refused():
    with pytest.raises(ShiftBenchError, match=r"crossvit_tiny_240': gives a list of features"):
        encoders.build("timm:crossvit_tiny_240", pretrained=False)
