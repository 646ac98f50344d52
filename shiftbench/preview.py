"""Contact sheets: one task under many shifts, families down and levels across."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shiftbench import progress, seeding
from shiftbench.envs.pixels import PixelEnv
from shiftbench.files import check_writable, replacing
from shiftbench.specs import Shift, Suite, Task

#: Least height and width of a cell, the gap around it, and the height of the letters, in pixels.
CELL, GAP, LETTERS = 192, 8, 18

PAPER, INK = "white", "black"


def write(
    tasks: Sequence[Task], suite: Suite, shifts: Sequence[Shift], *, episode: int, out: Path
) -> list[Path]:
    """Write one contact sheet a task to ``out`` and return the files.

    Raises:
        ShiftBenchError: ``out`` cannot be written, or nothing can be drawn here.
    """
    check_writable(out)
    paths = []
    with progress.bar(total=len(tasks), unit="sheet", desc="preview") as bar:
        for task in tasks:
            sheet = contact_sheet(task, suite, shifts, episode=episode)
            paths.append(out / f"{task.name}.png")
            with replacing(paths[-1]) as temporary:
                sheet.save(temporary, format="PNG")
            bar.update()
    return paths


def contact_sheet(
    task: Task, suite: Suite, shifts: Sequence[Shift], *, episode: int = 0, steps: int = 20
) -> Image.Image:
    """Draw one moment of an evaluation episode under each shift.

    Every cell shows the same state of the physics, reached by the same random actions; the first
    column is the clean one. A family that lacks a level leaves its cell empty.

    Args:
        task: the task.
        suite: gives the image size and the render profile.
        shifts: what to show; a row a family in order of appearance, a column a level in order of
            severity.
        episode: number of the evaluation episode, which gives the seeds.
        steps: agent steps before the picture is taken; fewer where the episode ends earlier.

    Returns:
        An RGB image, frames enlarged by a whole factor.
    """
    families = list(dict.fromkeys(shift.family for shift in shifts if not shift.is_clean))
    severities = {shift.level: shift.severity for shift in shifts if not shift.is_clean}
    clean = Shift.clean()
    levels = [clean.level, *sorted(severities, key=severities.__getitem__)]
    cells = {(shift.family, shift.level): shift for shift in shifts}
    env = PixelEnv(task, image_size=suite.image_size, render=suite.render)
    try:
        first = _frame(env, clean, episode, steps)
        rows = [
            [first]
            + [
                _frame(env, cells[family, level], episode, steps)
                if (family, level) in cells
                else None
                for level in levels[1:]
            ]
            for family in families
        ]
    finally:
        env.close()
    title = f"{task.name}-v{task.version}, suite {suite.id}, episode {episode}, step {steps}"
    return _grid(title, families or ["clean"], levels, rows or [[first]])


def _frame(env: PixelEnv, shift: Shift, episode: int, steps: int) -> np.ndarray:
    """Return the frame after ``steps`` random actions, the same ones for every shift."""
    task = env.task
    frame = env.reset(
        seeding.episode_seed(task.name, task.version, episode),
        shift,
        seeding.shift_seed(task.name, shift.family, shift.level, episode),
    )
    rng = seeding.rng(seeding.seed_of("preview", task.name, task.version, episode))
    done = False
    for action in rng.uniform(-1, 1, (steps, env.action_dim)):
        if not done:
            frame, _, done, _ = env.step(action)
    return frame


def _grid(
    title: str,
    row_names: Sequence[str],
    column_names: Sequence[str],
    rows: Sequence[Sequence[np.ndarray | None]],
) -> Image.Image:
    """Lay frames out with their names beside and above them."""
    font = ImageFont.load_default(LETTERS)
    size = rows[0][0].shape[0]
    cell = size * -(-CELL // size)
    left = 2 * GAP + int(max(font.getlength(name) for name in row_names))
    top = 2 * (LETTERS + 2 * GAP)
    width = max(left + len(column_names) * (cell + GAP), 2 * GAP + int(font.getlength(title)))
    sheet = Image.new("RGB", (width, top + len(rows) * (cell + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), title, INK, font)
    for j, name in enumerate(column_names):
        middle = left + j * (cell + GAP) + cell // 2
        draw.text((middle, top - GAP), name, INK, font, anchor="ms")
    for i, (name, row) in enumerate(zip(row_names, rows, strict=True)):
        y = top + i * (cell + GAP)
        draw.text((left - GAP, y + cell // 2), name, INK, font, anchor="rm")
        for j, frame in enumerate(row):
            if frame is not None:
                picture = Image.fromarray(frame).resize((cell, cell), Image.Resampling.NEAREST)
                sheet.paste(picture, (left + j * (cell + GAP), y))
    return sheet
