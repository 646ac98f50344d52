"""Other ways to compute an update: the losses of the plain one, within their precision."""

import pytest
import torch
from learner import filled, learn, learner

from shiftbench import checkpoints
from shiftbench.agents import resolve, world_model
from shiftbench.agents.returns import lambda_returns
from shiftbench.errors import ShiftBenchError


@pytest.fixture
def updates(cartpole, tmp_path):
    """Return what does two updates of new networks and gives the second's losses."""

    def updates(name, compiled=False, config=None, **options):
        agent = learner(resolve(name, **options), cartpole, **(config or {}))
        if compiled:
            agent.compile()
        replay = filled(agent, tmp_path / f"{name}-{compiled}-{options}")
        return agent, learn(agent, replay, 2)

    return updates


def close(found, wanted, **tolerance):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, **tolerance), name


def test_compiled_updates_have_the_losses_of_plain_ones(updates):
    # Of the fewest steps with something before and after them: loops are unrolled.
    short = {"length": 2, "imagination": 2}
    plain, wanted = updates("scratch", config=short)
    torch._dynamo.utils.counters.clear()
    compiled, found = updates("scratch", compiled=True, config=short)
    # Each loss is one graph: what is compiled has no way back into Python in between.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    close(found, wanted, rel=1e-3, abs=1e-5)
    trained = dict(compiled.model.named_parameters())
    for key, parameter in plain.model.named_parameters():
        torch.testing.assert_close(trained[key], parameter, rtol=1e-2, atol=2e-4, msg=key)


def test_products_in_bfloat16_have_the_losses_of_float32_nearly(updates):
    _, wanted = updates("scratch")
    agent, found = updates("scratch", precision="bfloat16")
    assert found != wanted
    close(found, wanted, rel=0.02, abs=0.05)
    # What is learned from is: all that trains has a gradient.
    trained = dict(agent.model.named_parameters())
    missing = {name for name, p in trained.items() if p.requires_grad and p.grad is None}
    assert not missing
    # What is kept is float32: parameters, and the optimiser's moments.
    kept = agent.training_state()
    assert {t.dtype for name, t in kept.items() if name != "generator"} == {torch.float32}


def test_probabilities_and_the_discount_are_not_rounded(updates, monkeypatch):
    found = []

    def watched(reward, value, discount, lmbda):
        found.append(discount)
        assert reward.dtype == value.dtype == torch.float32
        return lambda_returns(reward, value, discount, lmbda)

    monkeypatch.setattr(world_model, "lambda_returns", watched)
    agent, _ = updates("scratch", precision="bfloat16")
    assert {discount.dtype for discount in found} == {torch.float32}
    with torch.no_grad():  # nothing ends
        agent.model.continuation.model[-1].bias.fill_(100.0)
    classes, beliefs = torch.zeros(1, 3, 4, dtype=torch.int64), torch.zeros(1, 3, 16)
    with agent._mixed():
        draws = agent.model.draw(1, 3, torch.Generator())
        never = torch.zeros(1, 3, dtype=torch.bool)
        batch = {"reward": torch.zeros(1, 3), "first": never, "terminal": never}
        agent.model.behaviour_losses(batch, classes, beliefs, draws)
    assert (found[-1] == torch.tensor(agent.model.discount)).all()


def test_the_precision_is_part_of_the_agent(updates, tmp_path):
    assert resolve("scratch", precision="bfloat16").id == "scratch+precision=bfloat16"
    assert resolve("scratch", precision="float32") == resolve("scratch")
    agent, _ = updates("scratch", precision="bfloat16")
    agent.save(tmp_path / "a.safetensors")
    assert checkpoints.read_meta(tmp_path / "a.safetensors")["config"]["precision"] == "bfloat16"
    plain, _ = updates("scratch")
    with pytest.raises(ShiftBenchError, match="its agent has precision 'bfloat16'"):
        plain.load(tmp_path / "a.safetensors")
    with pytest.raises(ShiftBenchError, match=r"'half' for --precision.*bfloat16, float32"):
        resolve("scratch", precision="half")
    with pytest.raises(ShiftBenchError, match="--precision bfloat16: agent 'zero' has one"):
        resolve("zero", precision="bfloat16")
