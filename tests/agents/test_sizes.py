"""The sizes of `dreamer`: what they are, what they change, and where they are refused."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from learner import filled, learn

from shiftbench.agents import AGENTS, resolve
from shiftbench.agents.config import SIZES, Config, configured
from shiftbench.agents.dreamer import DreamerAgent
from shiftbench.data import data_dir
from shiftbench.errors import ShiftBenchError

PAGE = data_dir("tasks").parent / "docs" / "dreamer.md"
#: What keeps an update short; sizes say nothing about it.
SHORT = {"batch": 2, "length": 4, "imagination": 2}


@pytest.mark.skipif(not PAGE.exists(), reason="the pages are in the repository alone")
def test_the_page_has_the_sizes_and_their_parameters(call):
    section = PAGE.read_text().partition("## Sizes\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d.*) \|$", section, re.MULTILINE))
    shown = {}
    for size in SIZES:
        config = configured({"size": size})
        (row,) = json.loads(call("agents", "show", "scratch", "--size", size, "--json").out)
        assert row["size"] == size
        channels = ", ".join(map(str, config.decoder_channels))
        cells = [config.belief, config.hidden, config.units, config.encoder_depth, channels]
        counts = [f"{row[key]:,}" for key in ("parameters", "agent_parameters")]
        shown[size] = " | ".join(map(str, [*cells, *counts]))
    assert rows == shown


def test_the_default_is_the_first_and_no_part_of_the_id():
    assert configured({}) == configured({"size": "xs"}) == Config()
    assert resolve("scratch", size="xs") == AGENTS.get("scratch")
    assert resolve("scratch", size="m").id == "scratch+size=m"
    assert resolve("pvm-full", size="s", augment="shift").id == "pvm-full+augment=shift+size=s"


def test_one_set_of_everything_else():
    widths = {"belief", "hidden", "units", "encoder_depth", "decoder_channels"}
    assert all(set(size) <= widths for size in SIZES.values())
    assert configured({"size": "m", "belief": 64}).belief == 64


@pytest.mark.parametrize(
    ("agent", "size", "message"),
    [
        ("scratch", "xl", "unknown size 'xl' for --size. Did you mean 'l'? Valid: l, m, s, xs"),
        ("random", "m", "--size m: agent 'random' has one size"),
    ],
)
def test_sizes_that_do_not_exist(call, agent, size, message):
    done = call("agents", "show", agent, "--size", size)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert len(done.err.splitlines()) == 1


def test_an_agent_of_another_size_learns_and_is_loaded_as_that_alone(cartpole, tmp_path):
    spec = resolve("scratch", size="s")
    spec = msgspec.structs.replace(spec, options={**spec.options, **SHORT})
    agent = DreamerAgent(spec, cartpole, 2, 64, device="cpu")
    agent.begin(0)
    assert agent.model.acting.encoder.layers[0].out_channels == 20
    learn(agent, filled(agent, tmp_path / "replay"), 1)
    path = tmp_path / "policy.safetensors"
    agent.save(path)
    again = DreamerAgent(spec, cartpole, 2, 64, device="cpu")
    again.load(path)
    assert again.config == agent.config
    with pytest.raises(ShiftBenchError, match="its agent has size 's', 'scratch' has None"):
        DreamerAgent(resolve("scratch"), cartpole, 2, 64, device="cpu").load(path)


def test_checkpoints_from_before_there_was_a_choice(cartpole, tmp_path):
    agent = DreamerAgent(resolve("scratch"), cartpole, 2, 64, device="cpu")
    agent.begin(0)
    assert "encoder_depth" not in agent.meta()["config"]
    agent.save(tmp_path / "policy.safetensors")
    again = DreamerAgent(resolve("scratch"), cartpole, 2, 64, device="cpu")
    again.load(tmp_path / "policy.safetensors")
    assert again.config == Config()
