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

#: Least height and width of a cell, of one of a clip, the gap around it, and the height of the
#: letters, in pixels.
CELL, CLIP_CELL, GAP, LETTERS = 192, 96, 8, 18

#: Agent steps before the picture of a sheet is taken, and frames of a clip.
STEPS, FRAMES = 20, 24

PAPER, INK = "white", "black"


def write(
    tasks: Sequence[Task],
    suite: Suite,
    shifts: Sequence[Shift],
    *,
    episode: int,
    gif: bool = False,
    out: Path,
) -> list[Path]:
    """Write one contact sheet a task to ``out``, or one clip, and return the files.

    Raises:
        ShiftBenchError: ``out`` cannot be written, or nothing can be drawn here.
    """
    check_writable(out)
    paths = []
    with progress.bar(total=len(tasks), unit="sheet", desc="preview") as bar:
        for task in tasks:
            if gif:
                images = clip(task, suite, shifts, episode=episode)
            else:
                images = [contact_sheet(task, suite, shifts, episode=episode)]
            paths.append(out / f"{task.name}.{'gif' if gif else 'png'}")
            with replacing(paths[-1]) as temporary:
                _save(images, temporary)
            bar.update()
    return paths


def contact_sheet(
    task: Task, suite: Suite, shifts: Sequence[Shift], *, episode: int = 0, steps: int = STEPS
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
    title = f"{task.name}-v{task.version}, suite {suite.id}, episode {episode}, step {steps}"
    return _grid(title, *moments(task, suite, shifts, episode=episode, steps=steps))


def moments(
    task: Task, suite: Suite, shifts: Sequence[Shift], *, episode: int = 0, steps: int = STEPS
) -> tuple[list[str], list[str], list[list[np.ndarray | None]]]:
    """Return what `contact_sheet` shows: names of the rows, names of the columns, and the frames.

    A frame is uint8 (H, W, 3), or None where a family lacks a level.
    """
    rows, columns, films = _films(task, suite, shifts, episode, steps)
    return rows, columns, [[_at(film, steps) for film in row] for row in films]


def clip(
    task: Task, suite: Suite, shifts: Sequence[Shift], *, episode: int = 0, frames: int = FRAMES
) -> list[Image.Image]:
    """Draw the first moments of an evaluation episode under each shift, as `contact_sheet` does.

    Returns:
        ``frames`` RGB images of one size.
    """
    rows, columns, films = _films(task, suite, shifts, episode, frames - 1)
    title = f"{task.name}-v{task.version}, suite {suite.id}, episode {episode}"
    return [
        _grid(title, rows, columns, [[_at(film, t) for film in row] for row in films], CLIP_CELL)
        for t in range(frames)
    ]


#: The frames of an episode, or None where a family lacks a level.
Film = list[np.ndarray] | None


def _films(
    task: Task, suite: Suite, shifts: Sequence[Shift], episode: int, steps: int
) -> tuple[list[str], list[str], list[list[Film]]]:
    """Return the names of rows and columns, and the films in them."""
    families = list(dict.fromkeys(shift.family for shift in shifts if not shift.is_clean))
    severities = {shift.level: shift.severity for shift in shifts if not shift.is_clean}
    clean = Shift.clean()
    levels = [clean.level, *sorted(severities, key=severities.__getitem__)]
    cells = {(shift.family, shift.level): shift for shift in shifts}
    env = PixelEnv(task, image_size=suite.image_size, render=suite.render)
    try:
        first: Film = _film(env, clean, episode, steps)
        films = [
            [first]
            + [
                _film(env, cells[family, level], episode, steps)
                if (family, level) in cells
                else None
                for level in levels[1:]
            ]
            for family in families
        ]
    finally:
        env.close()
    return families or ["clean"], levels, films or [[first]]


def _film(env: PixelEnv, shift: Shift, episode: int, steps: int) -> list[np.ndarray]:
    """Return the frames of ``steps`` random actions, the same ones for every shift."""
    task = env.task
    frames = [
        env.reset(
            seeding.episode_seed(task.name, task.version, episode),
            shift,
            seeding.shift_seed(task.name, shift.family, shift.level, episode),
        )
    ]
    rng = seeding.rng(seeding.seed_of("preview", task.name, task.version, episode))
    done = False
    for action in rng.uniform(-1, 1, (steps, env.action_dim)):
        if not done:
            frame, _, done, _ = env.step(action)
            frames.append(frame)
    return frames


def _at(film: Film, t: int) -> np.ndarray | None:
    """Return frame ``t`` of a film, or the last one where it ends earlier."""
    return film[min(t, len(film) - 1)] if film else None


def _save(images: Sequence[Image.Image], path: Path) -> None:
    """Write one image as PNG, several as a GIF that repeats."""
    if len(images) == 1:
        images[0].save(path, format="PNG", optimize=True)
        return
    # One palette for all, of some of them, and no dither: what stands still must not flicker.
    some = images[:: max(1, len(images) // 4)]
    width, height = images[0].size
    strip = Image.new("RGB", (width, height * len(some)))
    for i, image in enumerate(some):
        strip.paste(image, (0, i * height))
    # What is small counts as well: a thing of few pixels must keep its colours.
    palette = strip.quantize(256, Image.Quantize.MAXCOVERAGE)
    first, *later = (image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images)
    first.save(path, format="GIF", save_all=True, append_images=later, duration=100, loop=0)


def _grid(
    title: str,
    row_names: Sequence[str],
    column_names: Sequence[str],
    rows: Sequence[Sequence[np.ndarray | None]],
    least: int = CELL,
) -> Image.Image:
    """Lay frames out with their names beside and above them, in cells of at least ``least``.

    Columns are as wide as their widest name where that is wider than a cell.
    """
    font = ImageFont.load_default(LETTERS)
    size = rows[0][0].shape[0]
    cell = size * -(-least // size)
    left = 2 * GAP + int(max(font.getlength(name) for name in row_names))
    top = 2 * (LETTERS + 2 * GAP)
    pitch = GAP + max(cell, *(int(font.getlength(name)) + 1 for name in column_names))
    width = max(left + len(column_names) * pitch, 2 * GAP + int(font.getlength(title)))
    sheet = Image.new("RGB", (width, top + len(rows) * (cell + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), title, INK, font)
    for j, name in enumerate(column_names):
        middle = left + j * pitch + (pitch - GAP) // 2
        draw.text((middle, top - GAP), name, INK, font, anchor="ms")
    for i, (name, row) in enumerate(zip(row_names, rows, strict=True)):
        y = top + i * (cell + GAP)
        draw.text((left - GAP, y + cell // 2), name, INK, font, anchor="rm")
        for j, frame in enumerate(row):
            if frame is not None:
                picture = Image.fromarray(frame).resize((cell, cell), Image.Resampling.NEAREST)
                sheet.paste(picture, (left + j * pitch + (pitch - GAP - cell) // 2, y))
    return sheet
