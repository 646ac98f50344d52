"""`agents show`, and the numbers of ``docs/finetuning.md``, which are its output."""

import json
import re
import shlex

import pytest

from shiftbench import finetune
from shiftbench.agents import AGENTS
from shiftbench.data import data_dir

PAGE = data_dir("tasks").parent / "docs" / "finetuning.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the pages are in the repository alone")
def test_the_page_shows_what_the_commands_print(call):
    blocks = re.findall(r"```console\n\$ shiftbench (.*)\n((?:.*\n)*?)```", PAGE.read_text())
    assert len(blocks) == 3
    for command, shown in blocks:
        done = call(*shlex.split(command))
        assert (done.code, done.out) == (0, shown), command


@pytest.mark.skipif(not PAGE.exists(), reason="the pages are in the repository alone")
def test_the_page_names_every_mode_and_its_learning_rate():
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([\d.–]+) \|$", PAGE.read_text(), re.MULTILINE))
    factors = {name: f"{mode.lr_factor:g}" for name, mode in finetune.MODES.items()}
    assert rows == {**factors, "frozen": "–"}


def test_every_mode_has_an_agent_and_json_tells_all(call):
    specs = [AGENTS.get(name) for name in AGENTS]
    assert {spec.mode for spec in specs} == set(finetune.MODES)
    done = call(
        "agents", "show", "pvm-partial", "--encoder", "timm:test_vit", "--finetune-blocks", "2",
        "--encoder-size", "96", "--encoder-features", "pooled", "--json",
    )  # fmt: skip
    (row,) = json.loads(done.out)
    options = "encoder=timm:test_vit+encoder_features=pooled+encoder_size=96+finetune_blocks=2"
    trained, total = row.pop("trained_parameters"), row.pop("parameters")
    assert row.pop("agent_parameters") > total
    assert row == {
        "agent": f"pvm-partial+{options}",
        "mode": "partial",
        "encoder": "timm:test_vit",
        "blocks": 6,
        "trained_blocks": ["blocks.4", "blocks.5"],
        "boundary": 4,
        "share": round(trained / total, 4),
        "lr_factor": 0.1,
        "features": 64,
        "input_size": 96,
        "size": "xs",
    }
    assert 0.2 < trained / total < 0.33


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["random"], "agent 'random' has no encoder"),
        (["pvm-lor"], "unknown agent 'pvm-lor' for --agent. Did you mean 'pvm-lora'?"),
        (["pvm-full", "--encoder-size", "96"], "--encoder-size: only for timm models"),
        (["pvm-full", "--encoder-features", "map"], "--encoder-features: only for timm models"),
        (["pvm-full", "--encoder", "timm:resnet81"], "'timm:resnet18'"),
        (
            ["pvm-partial", "--encoder", "timm:test_vit", "--finetune-blocks", "7"],
            "--finetune-blocks 7: encoder 'timm:test_vit' has 6 blocks, give 1 to 6",
        ),
        (
            ["pvm-full", "--encoder", "timm:test_vit", "--encoder-features", "all"],
            "unknown features 'all' for --encoder-features",
        ),
    ],
)
def test_what_cannot_be_shown(call, arguments, message):
    done = call("agents", "show", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert len(done.err.splitlines()) == 1
