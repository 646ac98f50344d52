"""What a repository uses of the gate: the composite action, the workflow, the commands in docs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from support import COMMAND

from shiftbench import results
from shiftbench.check import Selection, check
from shiftbench.cli import cli

ROOT = Path(__file__).resolve().parents[2]
ACTION = ROOT / "action.yml"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BASELINE = ROOT / "results" / "mini-pilot" / "episodes.csv"


def lint(path: Path, schema: str) -> subprocess.CompletedProcess:
    linter = Path(sys.executable).parent / "check-jsonschema"
    return subprocess.run(
        [linter, "--builtin-schema", schema, path], capture_output=True, text=True, timeout=120
    )


SCHEMAS = [(ACTION, "vendor.github-actions")] + [
    (path, schema)
    for path in WORKFLOWS
    for schema in ("vendor.github-workflows", "custom.github-workflows-require-timeout")
]


@pytest.mark.parametrize(("path", "schema"), SCHEMAS, ids=lambda value: getattr(value, "name", ""))
def test_they_follow_githubs_schemas(path, schema):
    done = lint(path, schema)
    assert done.returncode == 0, done.stdout


def test_the_linter_finds_what_is_wrong(tmp_path):
    text = ACTION.read_text().replace("      shell: bash\n", "")
    (tmp_path / "action.yml").write_text(text)
    assert lint(tmp_path / "action.yml", "vendor.github-actions").returncode == 1
    text = WORKFLOWS[0].read_text().replace("runs-on:", "run-on:")
    (tmp_path / "gate.yml").write_text(text)
    assert lint(tmp_path / "gate.yml", "vendor.github-workflows").returncode == 1


def test_what_the_readme_pastes_is_a_workflow(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(name: gate\n.+?)```", readme, re.S)
    (tmp_path / "gate.yml").write_text(block)
    done = lint(tmp_path / "gate.yml", "vendor.github-workflows")
    assert done.returncode == 0, done.stdout
    *_, step = YAML(typ="safe").load(block)["jobs"]["gate"]["steps"]
    inputs = YAML(typ="safe").load(ACTION)["inputs"]
    assert {name for name, entry in inputs.items() if entry.get("required")} <= set(step["with"])
    assert set(step["with"]) <= set(inputs)


def test_inputs_are_declared_and_none_is_pasted_into_a_script():
    action = YAML(typ="safe").load(ACTION)
    text = ACTION.read_text()
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(action["inputs"])
    for step in action["runs"]["steps"]:
        assert "${{" not in step["run"]
    for path in WORKFLOWS:
        for job in YAML(typ="safe").load(path)["jobs"].values():
            for step in job["steps"]:
                if step.get("uses") == "./":
                    assert set(step["with"]) <= set(action["inputs"])


@pytest.fixture
def act(tmp_path):
    """Run the script of the action's step `check` as GitHub does."""
    action = YAML(typ="safe").load(ACTION)
    (step,) = (step for step in action["runs"]["steps"] if step.get("id") == "check")

    def act(**inputs: object) -> tuple[int, str, str]:
        given = {name: entry.get("default", "") for name, entry in action["inputs"].items()}
        given |= {name.replace("_", "-"): str(value) for name, value in inputs.items()}
        env = {
            name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: given[m[1]], value)
            for name, value in step["env"].items()
        }
        files = {name: tmp_path / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for path in files.values():
            path.write_text("")
        (tmp_path / "step.sh").write_text(step["run"])
        path = f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", tmp_path / "step.sh"],
            env={**os.environ, **env, **{k: str(v) for k, v in files.items()}, "PATH": path},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, *(path.read_text() for path in files.values())

    return act


def test_the_action_passes_on_code_verdict_and_summary(act, tmp_path):
    rows = results.read_rows([BASELINE])
    worse = tmp_path / "its rows; touch oops.csv"  # a name that a careless script would run
    rows.assign(score=rows["score"] - 40.0).to_csv(worse, index=False)
    code, verdict, page = act(baseline=BASELINE, candidate=BASELINE)
    assert (code, verdict) == (0, "verdict=pass\n")
    assert page.startswith("### ✅ ShiftBench: pass")
    code, verdict, page = act(baseline=BASELINE, candidate=worse, options="--level none --seed 0")
    assert (code, verdict) == (1, "verdict=regression\n")
    assert "❌" in page
    assert (tmp_path / "shiftbench-gate.xml").is_file()
    assert act(baseline=BASELINE, candidate=worse, max_drop=90)[0] == 0
    # Every line of the options counts: without the second this is a regression.
    lines = "--level none\n--max-drop 90\n"
    assert act(baseline=BASELINE, candidate=worse, options=lines)[0] == 0
    code, verdict, _ = act(baseline=BASELINE, candidate=worse, min_seeds=2, options="--seed 0")
    assert (code, verdict) == (3, "verdict=incomplete\n")
    assert act(baseline=BASELINE, candidate="nowhere") == (2, "verdict=error\n", "")
    assert not (tmp_path / "oops.csv").exists()


def test_the_baseline_is_what_ci_needs():
    rows = results.read_rows([BASELINE])
    wanted = Selection(agents=("pvm-partial",), tasks=("cartpole_balance",), levels=("none",))
    assert check(rows, rows, wanted).exit_code == 0
    assert len(rows) >= 10
    assert not rows["commit"].str.contains("+", regex=False).any()  # of a clean checkout


def test_what_the_pages_show_can_be_called():
    """Every `shiftbench check` of README and docs has options that exist."""
    found = []
    for page in (ROOT / "README.md", ROOT / "docs" / "gate.md", ROOT / "results" / "README.md"):
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^\s*shiftbench check (.+)$", text, re.M):
            words = shlex.split(line, comments=True)
            found.append(cli.commands["check"].make_context("check", words))
    assert len(found) >= 3
