"""Ten updates of the real learner change exactly the encoder's parameters that a mode names."""

from __future__ import annotations

import pytest
import torch
from learner import filled, learn, learner
from safetensors.torch import save_file

from shiftbench import finetune
from shiftbench.encoders.timm_models import timm
from shiftbench.specs import AgentSpec

#: Parts of the names of the parameters that train, and of those that do not, for each mode; "" is
#: part of every name.
NAMED = {
    "synth": {
        "frozen": ((), ("",)),
        "partial": (
            ("stage3_4", "stage3_5", "stage3_6", "neck"),
            ("stem", "stage1", "stage2", "stage3_1", "stage3_2", "stage3_3"),
        ),
        "lora": ((".0.down", ".0.up"), ("weight.original", "bias", "bn")),
    },
    "timm:test_vit": {
        "frozen": ((), ("",)),
        "partial": (("blocks.4", "blocks.5"), ("blocks.0", "blocks.3", "embed", "net.norm")),
        "lora": ((".0.down", ".0.up"), ("weight.original", "bias", "norm", "embed")),
    },
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    return str(path)


@pytest.mark.parametrize("encoder", list(NAMED))
@pytest.mark.parametrize("mode", list(finetune.MODES))
def test_ten_updates_change_what_the_mode_names(encoder, mode, cartpole, tmp_path, weights):
    pretrained = encoder != "synth" and mode != "scratch"
    spec = AgentSpec("any", "dreamer", encoder, mode, weights=weights if pretrained else "")
    agent = learner(spec, cartpole, warmup=1)
    before = {name: t.clone() for name, t in agent.model.acting.encoder.state_dict().items()}
    learn(agent, filled(agent, tmp_path), 10)
    after = agent.model.acting.encoder.state_dict()
    changed = [name for name, tensor in after.items() if not torch.equal(tensor, before[name])]
    assert changed == list(agent.model.plan.trainable)
    everything = [name for name, _ in agent.model.acting.encoder.named_parameters()]
    if mode not in NAMED[encoder]:
        assert changed == everything
        return
    train, stay = NAMED[encoder][mode]
    assert all(any(part in name for part in train) for name in changed)
    assert all(any(part in name for name in changed) for part in train)
    assert not any(part in name for name in changed for part in stay)
    assert all(any(part in name for name in everything) for part in stay)


def test_no_layer_drops_at_random_before_an_evaluation_or_after(cartpole):
    spec = AgentSpec("any", "dreamer", "timm:test_vit", "scratch")
    agent = learner(spec, cartpole)
    assert not any(module.training for module in agent.model.acting.encoder.modules())
    assert any(parameter.requires_grad for parameter in agent.model.acting.encoder.parameters())
