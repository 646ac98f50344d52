"""The page, in a real browser: Debian's or Ubuntu's ``chromium``."""

from __future__ import annotations

import itertools
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from shiftbench import report, results
from shiftbench.report import curves, gallery
from shiftbench.specs import LEVELS

REPOSITORY = Path(__file__).parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), "")
needs_browser = pytest.mark.skipif(
    not BROWSER, reason="no chromium is installed (Debian: apt-get install chromium)"
)

#: What a page must show as it is and run as nothing.
NASTY = "<img src=x onerror=alert(1)>"
FORMULA = '=cmd|"/C calc"!A1'
AGENTS = {NASTY: 40.0, FORMULA: 60.0, "plain": 20.0}
TASKS = ("cartpole_balance", "</script><b>y")
FAMILIES = ("texture", "color")


def rows(agents=AGENTS, levels=("none", "mild", "severe")) -> list[dict]:
    """Each agent keeps the share 1 − severity of its score; "plain" lacks a cell."""
    made = []
    for agent, task, level, seed, episode in itertools.product(
        agents, TASKS, levels, (0, 1), range(2)
    ):
        for family in ("none",) if level == "none" else FAMILIES:
            if (agent, task, level, seed) == ("plain", TASKS[0], "severe", 1) and family == "color":
                continue
            score = agents[agent] * (1.0 - LEVELS[level]) + episode + 3 * seed
            score += 9.0 * ((agent, task) == ("plain", TASKS[0])) * 10
            made.append(
                {
                    "agent": agent, "task": task, "train_seed": seed, "family": family,
                    "level": level, "episode": episode, "return": 10 * score, "score": score,
                    "commit": "0123abcd" if agent == NASTY else "", "train_steps": 1000,
                }
            )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The folder of a page of `rows`, with a training curve of one agent."""
    folder = tmp_path_factory.mktemp("page")
    results.write_rows(folder / "in" / "rows.csv", rows())
    curve = folder / "in" / "cartpole_balance-v1" / results.file_name(NASTY) / "seed-0.csv"
    curve.parent.mkdir(parents=True)
    curve.write_text("env_steps,train_return,eval_return\n100,5,\n200,7,8\n300,9,\n")
    table = results.read_rows([folder / "in"])
    report.build(
        table, folder / "out", curves=curves.read([folder / "in"], table), html=folder / "html"
    )
    return folder / "html"


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(page, browser):
    """The page, opened; what it fetches and what it complains of must be nothing."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.set_default_timeout(60_000)
    asked, said = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    tab.goto((page / "index.html").as_uri())
    yield tab
    assert [url for url in asked if not url.startswith("data:")] == [(page / "index.html").as_uri()]
    assert said == []
    context.close()


def agents(tab) -> list[str]:
    """Return the agents that can be seen, from top to bottom."""
    return [text.strip() for text in tab.locator("#board tbody:visible th").all_inner_texts()]


def headings(tab) -> list[str]:
    return [text.strip() for text in tab.locator("#board thead th:visible").all_inner_texts()]


# -- what it says -------------------------------------------------------------------------------


def test_it_is_one_file(page):
    assert [path.name for path in page.iterdir()] == ["index.html"]
    text = (page / "index.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert NASTY not in text
    assert "</script><b>" not in text


def test_missing_cells_are_named(page):
    text = (page / "index.html").read_text()
    assert "<li>plain on cartpole_balance, seed 1, severe: no color</li>" in text


def test_the_gallery_says_why_it_is_empty(tasks):
    table = pd.DataFrame({"task": ["nowhere"], "suite": ["mini"]})
    assert gallery.draw(table, tasks).reason.startswith("no task of these rows is known")
    table = pd.DataFrame({"task": ["cartpole_balance"], "suite": [""]})
    assert gallery.draw(table, tasks).reason.startswith("the rows name no suite")


def test_the_gallery_shows_real_frames(tasks):
    shifts = [("none", "none", 0.0), ("texture", "severe", 0.75), ("strange", "severe", 0.75)]
    table = pd.DataFrame(shifts, columns=["family", "level", "severity"])
    found = gallery.draw(table.assign(task="cartpole_balance", suite="mini"), tasks)
    assert (found.task, found.families, found.levels) == (
        "cartpole_balance", ("texture",), ("none", "severe"),
    )  # fmt: skip
    ((clean, shifted),) = found.frames
    assert clean[:4] == shifted[:4] == b"RIFF"
    assert clean != shifted


def test_curves_are_those_of_the_scored_runs(tmp_path):
    table = pd.DataFrame(
        {"agent": ["a", "a"], "task": ["t", "t"], "train_seed": [0, 1], "checkpoint": ["", ""]}
    ).assign(task_version=pd.array([2, 2], "Int64"))
    for path, text in {
        "train/t-v2/a/seed-1/curve.csv": "env_steps,train_return,eval_return\n10,1.5,\n",
        "in [1]/t-v2/a/seed-0.csv": "env_steps,train_return,eval_return\n20,2.5,3\n",
        "in [1]/t-v2/a/seed-7.csv": "env_steps,train_return,eval_return\n20,2.5,3\n",
        "in [1]/t-v2/a/seed-1.csv": "no,curve\n1,2\n",
        "in [1]/t-v1/a/seed-0.csv": "env_steps,train_return,eval_return\n99,2.5,3\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    found = curves.read([tmp_path / "in [1]"], table)
    assert tuple(found) == curves.COLUMNS
    assert found[["train_seed", "env_steps"]].to_numpy().tolist() == [[0, 20], [1, 10]]
    assert curves.read([tmp_path / "in [1]"], table.assign(task="u")).empty
    unknown = table.assign(task_version=pd.array([pd.NA, pd.NA], "Int64"))
    assert curves.read([tmp_path / "in [1]"], unknown)["env_steps"].tolist() == [99, 10]


def test_curves_of_shipped_checkpoints_are_known_by_their_hash():
    rows = results.read_rows([REPOSITORY / "results" / "mini-pilot" / "episodes.csv"])
    assert len(curves.read(["nowhere"], rows)) > 10
    assert curves.read(["nowhere"], rows.assign(checkpoint="0" * 64)).empty


# -- what it does -------------------------------------------------------------------------------


@needs_browser
def test_names_are_text(tab):
    assert set(agents(tab)) == set(AGENTS)
    assert tab.locator("img[src=x]").count() == 0
    offered = tab.locator("select[name=task] option").all_inner_texts()
    assert offered == ["all tasks", *sorted(TASKS)]
    with tab.expect_download() as download:
        tab.get_by_role("link", name="leaderboard.csv").click()
    written = pd.read_csv(download.value.path())
    assert set(written["agent"]) == {NASTY, f"'{FORMULA}", "plain"}


@needs_browser
def test_sorting_by_click_and_by_key(tab):
    shown = tab.locator("#board tbody:visible th")
    heading = tab.locator("#board thead th.score0")
    heading.get_by_role("button").click()
    # Clean, the runs of "plain" are 110 and 113 on one task, 20 and 23 on the other.
    expect(shown).to_have_text(["plain", FORMULA, NASTY])
    assert heading.get_attribute("aria-sort") == "descending"
    heading.get_by_role("button").focus()
    tab.keyboard.press("Enter")
    expect(shown).to_have_text([NASTY, FORMULA, "plain"])
    assert heading.get_attribute("aria-sort") == "ascending"
    # What is missing stays last, whichever way: "plain" has no overall number.
    overall = tab.locator("#board thead th.whole").last.get_by_role("button")
    overall.click()
    expect(shown).to_have_text([FORMULA, NASTY, "plain"])
    overall.click()
    expect(shown).to_have_text([NASTY, FORMULA, "plain"])


@needs_browser
def test_filters(tab):
    choose = {name: tab.locator(f"select[name={name}]") for name in ("task", "family", "level")}
    assert headings(tab) == [
        "agent", "rank", "clean", "mild", "severe", "kept at severe", "overall", "tasks × seeds",
    ]  # fmt: skip
    choose["task"].select_option("cartpole_balance")
    assert tab.locator("#board tbody:visible").get_attribute("data-task") == "cartpole_balance"
    line = tab.locator("#board tbody:visible tr", has_text="plain")
    # 20 + 90, and half a point for the episodes, 1.5 for the seeds
    assert line.locator("td.score0").inner_text().startswith("112.0")
    choose["family"].select_option("color")
    assert line.locator("td:visible").first.inner_text() == "–"  # no rank of a single cell
    choose["level"].select_option(label="mild")
    assert headings(tab) == ["agent", "mild", "kept at mild", "tasks × seeds"]
    assert line.locator("td:visible").first.inner_text() == "107.0"
    choose["level"].select_option("all")
    choose["task"].select_option("")
    choose["family"].select_option("")
    assert set(agents(tab)) == set(AGENTS)
    assert tab.locator("#filters output").inner_text() == "3 agents"


@needs_browser
def test_a_row_opens_curves_and_provenance_by_key(tab):
    button = tab.locator("#board tbody:visible").get_by_role("button", name=NASTY)
    button.focus()
    tab.keyboard.press("Enter")
    opened = tab.get_by_role("dialog", name=NASTY)
    opened.wait_for()
    assert "0123abcd" in opened.inner_text()
    curve = opened.get_by_role("img", name="Training curves")
    assert "return 5 at 100 and 9 at 300 environment steps" in curve.get_attribute("alt")
    assert curve.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    tab.keyboard.press("Escape")
    opened.wait_for(state="hidden")
    assert button.evaluate("button => button === document.activeElement")
    tab.get_by_role("button", name="plain").click()
    assert "No training curve" in tab.get_by_role("dialog", name="plain").inner_text()


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_accessible_and_no_wider_than_the_screen(page, browser, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, bypass_csp=True
    )
    tab = context.new_page()
    tab.goto((page / "index.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth)")
    found = Axe().run(tab)
    assert found.violations_count == 0, found.generate_report()
    tab.locator("#board tbody:visible button").first.click()
    found = Axe().run(tab)
    assert found.violations_count == 0, found.generate_report()
    context.close()


@needs_browser
def test_without_scripts_the_leaderboard_is_there(page, browser):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto((page / "index.html").as_uri())
    assert tab.locator("#board tbody:visible").count() == 1
    assert not tab.locator("#filters").is_visible()
    context.close()
