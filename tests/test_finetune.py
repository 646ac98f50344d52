"""Modes: exactly the parameters that a mode names change, and nothing frozen moves."""

import math

import pytest
import torch
from torch import nn

from shiftbench import encoders, finetune
from shiftbench.encoders.base import Encoder
from shiftbench.errors import ShiftBenchError

ENCODERS = ["cnn", "synth", "synth-2", "timm:test_resnet", "timm:test_vit", "timm:test_convnext"]


def perturbed(name: str) -> Encoder:
    """An encoder none of whose parameters is at a value that keeps others from learning."""
    torch.manual_seed(0)
    encoder = encoders.build(name, pretrained=False)
    with torch.no_grad():
        for parameter in encoder.module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return encoder


def update(encoder: Encoder, plan: finetune.Plan) -> None:
    """One optimiser step, in training mode, inside of a larger model."""
    agent = nn.Sequential(encoder.module, nn.Linear(encoder.features, 4)).train()
    # A frozen part that somebody switches by hand must not move either.
    for _, block in encoder.blocks[: plan.boundary]:
        block.train()
    trained = [p for p in agent.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-2)
    agent(encoder.transform(torch.rand(4, 3, 64, 64))).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("mode", list(finetune.MODES))
def test_one_update_changes_exactly_what_the_mode_names(name, mode):
    encoder = perturbed(name)
    plan = finetune.plan(encoder, mode)
    finetune.apply(encoder, plan)
    before = {k: v.clone() for k, v in encoder.module.state_dict().items()}
    for _ in range(2):  # the first moves only one half of an adapter, as the other is zero
        update(encoder, plan)
    changed = [k for k, v in encoder.module.state_dict().items() if not torch.equal(v, before[k])]
    assert sorted(changed) == sorted(plan.trainable)

    count = len(encoder.blocks)
    everything = [n for n, _ in encoder.module.named_parameters()]
    if mode == "frozen":
        assert (plan.trainable, plan.boundary) == ((), count)
    elif mode == "partial":
        assert plan.boundary == count - math.ceil(count / 3)
        last = [p for _, block in encoder.blocks[plan.boundary :] for p in block.parameters()]
        assert len(plan.trainable) == len(last)
    elif mode == "lora":
        assert plan.boundary == 0
        assert {name.split(".parametrizations.")[0] for name in plan.trainable} == set(plan.adapted)
        assert any(".0.up" in name for name in plan.trainable)
    else:
        assert (list(plan.trainable), plan.boundary) == (everything, 0)


def test_learning_rate_factors_are_the_papers():
    factors = {name: mode.lr_factor for name, mode in finetune.MODES.items()}
    lora = factors.pop("lora")
    assert factors == {"scratch": 1.0, "frozen": 0.0, "partial": 0.1, "full": 0.1, "lowlr": 0.01}
    assert lora == 10 * factors["full"]


@pytest.mark.parametrize("name", ENCODERS)
def test_nothing_is_recorded_before_the_boundary(name):
    encoder = perturbed(name)
    plan = finetune.plan(encoder, "partial")
    finetune.apply(encoder, plan)
    seen = {index: set() for index in (plan.boundary - 1, plan.boundary)}
    for index, records in seen.items():
        for part in encoder.blocks[index][1].modules():
            if not list(part.children()):
                part.register_forward_hook(
                    lambda _, __, out, records=records: records.add(out.requires_grad)
                )
    encoder(torch.rand(2, 3, 64, 64))
    assert seen[plan.boundary - 1] == {False}
    assert True in seen[plan.boundary]


def test_a_frozen_encoder_gives_features_without_a_graph():
    encoder = encoders.build("synth", pretrained=False)
    finetune.apply(encoder, finetune.plan(encoder, "frozen"))
    assert encoder(torch.rand(2, 3, 64, 64)).grad_fn is None


def test_frozen_normalisation_and_dropout_stay_in_evaluation_mode():
    block = [nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)) for _ in range(3)]
    module = nn.Sequential(*block)
    encoder = Encoder(
        "custom", module, 4, nn.Identity(), [(str(i), b) for i, b in enumerate(block)]
    )
    finetune.apply(encoder, finetune.plan(encoder, "partial"))
    nn.ModuleDict({"encoder": module}).train()
    block[0].train()
    block[1][2].train(True)
    assert [b.training for b in block] == [False, False, True]
    assert not any(part.training for b in block[:2] for part in b)
    module(torch.rand(8, 4))
    assert [int(b[1].num_batches_tracked) for b in block] == [0, 0, 1]


def test_another_plan_undoes_the_first():
    encoder = encoders.build("timm:test_resnet", pretrained=False)
    finetune.apply(encoder, finetune.plan(encoder, "frozen"))
    finetune.apply(encoder, finetune.plan(encoder, "full"))
    encoder.module.train()
    assert all(p.requires_grad for p in encoder.module.parameters())
    assert encoder.module.net.layer1.training


@pytest.mark.parametrize("name", ENCODERS)
def test_adapters_begin_without_effect_on_every_layer_of_the_blocks(name):
    encoder = perturbed(name)
    frames = torch.rand(2, 3, 64, 64)
    encoder.module.eval()
    before, count = encoder(frames), sum(p.numel() for p in encoder.module.parameters())
    plan = finetune.plan(encoder, "lora")
    finetune.apply(encoder, plan)
    torch.testing.assert_close(encoder(frames), before)
    wanted = [
        layer
        for _, block in encoder.blocks
        for layer in block.modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    assert len(plan.adapted) == len(wanted) >= 4
    added = [p for p in encoder.module.parameters() if p.requires_grad]
    assert 0 < sum(p.numel() for p in added) < count
    encoder.module.train()
    norms = [
        m
        for m in encoder.module.modules()
        if "Norm" in type(m).__name__ and list(m.children()) == []
    ]
    assert norms
    assert not any(norm.training for norm in norms)
    with pytest.raises(ValueError, match="build it anew"):
        finetune.apply(encoder, plan)


def test_a_number_of_blocks_overrides_the_third():
    encoder = encoders.build("synth", pretrained=False)
    assert finetune.plan(encoder, "partial").boundary == 8
    plan = finetune.plan(encoder, "partial", blocks=1)
    assert plan.boundary == 11
    assert {name.split(".")[1] for name in plan.trainable} == {"neck"}
    assert finetune.plan(encoder, "partial", blocks=12).boundary == 0


@pytest.mark.parametrize(
    ("mode", "blocks", "message"),
    [
        ("partial", 13, r"--finetune-blocks 13: encoder 'synth' has 12 blocks"),
        ("partial", 0, r"--finetune-blocks 0"),
        ("full", 2, r"only for mode 'partial', not 'full'"),
        ("partail", None, r"unknown fine-tuning mode 'partail'.*'partial'"),
    ],
)
def test_bad_plans(mode, blocks, message):
    encoder = encoders.build("synth", pretrained=False)
    with pytest.raises(ShiftBenchError, match=message):
        finetune.plan(encoder, mode, blocks)


def test_an_encoder_without_blocks_cannot_be_partly_trained():
    encoder = Encoder("custom", nn.Linear(4, 4), 4, nn.Identity())
    for mode in ("partial", "lora"):
        with pytest.raises(ShiftBenchError, match=f"'custom' has no ordered blocks.*'{mode}'"):
            finetune.plan(encoder, mode)
    assert finetune.plan(encoder, "full").trainable == ("weight", "bias")
    assert finetune.plan(encoder, "frozen").trainable == ()
