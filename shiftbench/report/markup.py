"""Tables as people read them: terminal, Markdown, LaTeX; every name escaped for where it stands."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from shiftbench.report.runs import order
from shiftbench.specs import CLEAN

Table = tuple[list[str], list[list[str]]]

_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "–": "--", "×": r"$\times$", **{c: f"\\{c}" for c in "&%$#_{}"},
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
}  # fmt: skip
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def markdown(text: str) -> str:
    """Escape what Markdown, or HTML in it, would read."""
    plain = "".join(_ENTITIES.get(c, c) for c in text)
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", plain)


def latex(text: str) -> str:
    """Escape what LaTeX would read."""
    return "".join(_LATEX.get(c, c) for c in text)


def spreadsheet(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would run as a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def quoted(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose names are safe in a spreadsheet, see `spreadsheet`."""
    # By a test, since what selects text by name is called otherwise in pandas 2 and 3.
    names = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    return table.assign(**{name: table[name].map(spreadsheet) for name in names})


def cells(board: pd.DataFrame) -> Table:
    """Return headings and text cells of a leaderboard as people read it: agents × levels."""
    levels = order(board)
    headings = ["rank", "agent", *levels, "retention", "overall", "tasks × seeds"]
    lines = []
    for agent, own in board.groupby("agent", sort=False):
        by_level = own.set_index("level")
        first = own.iloc[0]
        line = ["–" if pd.isna(first["rank"]) else str(first["rank"])]
        line.append(str(agent))
        for level in levels:
            if level in by_level.index:
                line.append(_ranged(by_level.loc[level], "score", "low", "high"))
            else:
                line.append("missing")
        worst = own[own["level"] != CLEAN].tail(1)
        kept = worst["retention"].iloc[0] if len(worst) else float("nan")
        line.append("–" if np.isnan(kept) else f"{100 * kept:.0f} % ({worst['level'].iloc[0]})")
        line.append(_ranged(first, "overall", "overall_low", "overall_high"))
        line.append(f"{own['tasks'].min()} × {own['seeds'].min()}")
        lines.append(line)
    return headings, lines


def verdicts(pairs: pd.DataFrame) -> Table:
    """Return headings and text cells of comparisons at the hardest level."""
    headings = ["agent", "other", "level", "difference", "chance to be better", "p", "verdict"]
    lines = [
        [
            pair.agent, pair.other, pair.level, f"{pair.difference:+.1f}",
            f"{pair.improvement:.2f}",
            f"{pair.p:.2g}, corrected {pair.p_holm:.2g} (smallest {pair.smallest_p:.2g})",
            pair.verdict,
        ]
        for pair in pairs[pairs["level"] == pairs["level"].tail(1).squeeze()].itertuples()
    ]  # fmt: skip
    return headings, lines


def latex_table(board: pd.DataFrame) -> str:
    """Return a leaderboard as a table for the package booktabs."""
    headings, lines = cells(board)
    body = [" & ".join(map(latex, line)) + r" \\" for line in [headings, *lines]]
    columns = "rl" + "r" * (len(headings) - 2)
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            f"\\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            body[0],
            r"\midrule",
            *body[1:],
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _ranged(entry: pd.Series, value: str, low: str, high: str) -> str:
    if np.isnan(entry[value]):
        return "–"
    return f"{entry[value]:z.1f} [{entry[low]:z.1f}, {entry[high]:z.1f}]"
