"""Contact sheets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image, ImageFont
from support import flat, video

from shiftbench import preview
from shiftbench.envs.pixels import PixelEnv
from shiftbench.specs import Shift


@pytest.fixture
def laid_out(monkeypatch) -> dict:
    """Catch what the sheet is made of, on its way to the layout."""
    caught = {}
    layout = preview._grid

    def grid(title, row_names, column_names, rows, *size):
        caught.update(title=title, row_names=row_names, column_names=column_names, rows=rows)
        return layout(title, row_names, column_names, rows, *size)

    monkeypatch.setattr(preview, "_grid", grid)
    return caught


def test_a_sheet_has_a_row_a_family_and_a_column_a_level(cartpole, mini, laid_out):
    shifts = [
        Shift("background", "extreme", 1.0),
        Shift("background", "mild", 0.25),
        Shift("lighting", "mild", 0.25),
    ]
    sheet = preview.contact_sheet(cartpole, mini, shifts, episode=1, steps=3)
    assert sheet.mode == "RGB"
    assert laid_out["row_names"] == ["background", "lighting"]
    assert laid_out["column_names"] == ["none", "mild", "extreme"]
    assert "cartpole_balance-v1" in laid_out["title"]
    (clean, mild, extreme), (again, lit, missing) = laid_out["rows"]
    assert missing is None
    assert (clean == again).all()
    assert len({frame.tobytes() for frame in (clean, mild, extreme, lit)}) == 4
    # Every frame is on the sheet, enlarged threefold without blur.
    pixels = np.asarray(sheet)
    for frame in (clean, mild, extreme, lit):
        corner = np.repeat(np.repeat(frame[:2, :2], 3, 0), 3, 1)
        starts = np.argwhere((pixels[:-6, :-6] == corner[0, 0]).all(-1))
        assert any((pixels[y : y + 6, x : x + 6] == corner).all() for y, x in starts)


def test_a_sheet_is_the_same_again_and_differs_between_episodes(cartpole, mini):
    def draw(episode):
        shifts = [Shift("texture", "severe", 0.75)]
        return preview.contact_sheet(cartpole, mini, shifts, episode=episode, steps=2)

    assert draw(0).tobytes() == draw(0).tobytes()
    assert draw(0).tobytes() != draw(1).tobytes()


def test_no_shift_gives_the_clean_frame_alone(cartpole, mini, laid_out):
    preview.contact_sheet(cartpole, mini, [Shift.clean()], steps=0)
    assert laid_out["row_names"] == ["clean"]
    assert laid_out["column_names"] == ["none"]
    assert len(laid_out["rows"]) == 1


def test_an_episode_that_ends_first_gives_its_last_frame(cartpole, mini, laid_out, monkeypatch):
    import msgspec

    short = msgspec.structs.replace(cartpole, episode_steps=16)
    made = []
    step = PixelEnv.step
    monkeypatch.setattr(PixelEnv, "step", lambda env, a: made.append(step(env, a)) or made[-1])
    preview.contact_sheet(short, mini, [], steps=30)
    assert len(made) == short.agent_steps
    assert (laid_out["rows"][0][0] == made[-1][0]).all()


def test_a_clip_has_a_frame_a_step_that_shows_the_same_actions(cartpole, mini, laid_out):
    shifts = [Shift("lighting", "severe", 0.75)]
    images = preview.clip(cartpole, mini, shifts, frames=4)
    assert len(images) == 4
    assert len({image.size for image in images}) == 1
    last = laid_out["rows"][0][0]
    preview.contact_sheet(cartpole, mini, shifts, steps=3)
    assert (laid_out["rows"][0][0] == last).all()


def test_gif_writes_a_clip_in_which_a_moving_shift_moves(call, tmp_path):
    out = tmp_path / "clips"
    chosen = ("--task", "cartpole_balance", "--shift", "background:moderate")
    done = call("preview", *chosen, "--shift", "background:severe", "--gif", "--out", out)
    assert done.code == 0, done.err
    assert done.out.split() == [str(out / "cartpole_balance.gif")]
    with Image.open(out / "cartpole_balance.gif") as clip:
        assert clip.format == "GIF"
        assert clip.n_frames == preview.FRAMES
        assert clip.info["loop"] == 0
        frames = []
        for t in range(clip.n_frames):
            clip.seek(t)
            frames.append(np.asarray(clip.convert("RGB"), np.int16))
    font = ImageFont.load_default(preview.LETTERS)
    left = 2 * preview.GAP + int(font.getlength("background"))
    top = 2 * (preview.LETTERS + 2 * preview.GAP)
    cell = 128  # 64 px doubled
    changes = []
    for column in range(3):  # none, moderate, severe
        x = left + column * (cell + preview.GAP)
        sky = [frame[top : top + 16, x : x + 32] for frame in frames]
        changes.append(np.mean([np.abs(a - b).mean() for a, b in itertools.pairwise(sky)]))
    assert max(changes[:2]) < 0.1  # what stands still does not flicker
    assert changes[2] > 2


def test_a_clip_shows_a_users_video(call, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    video(folder / "film.mp4", [flat(level) for level in range(10, 250, 20)])
    arguments = ("--task", "cartpole_balance", "--gif", "--out", tmp_path / "clips")
    pictures = {}
    for name, flags in (("pattern", ()), ("video", ("--backgrounds", folder))):
        done = call("preview", *arguments, "--shift", "background:extreme", *flags)
        assert done.code == 0, done.err
        pictures[name] = (tmp_path / "clips" / "cartpole_balance.gif").read_bytes()
    assert pictures["pattern"] != pictures["video"]


def test_long_names_of_levels_do_not_touch(cartpole, mini):
    shifts = [Shift("preset", name, 1.0) for name in ("dmcgb2-rotate-hard", "rlvigen-camera-hard")]
    image = preview.clip(cartpole, mini, shifts, frames=1)[0]
    names = np.asarray(image)[preview.LETTERS + 3 * preview.GAP :][: preview.LETTERS - 2]
    font = ImageFont.load_default(preview.LETTERS)
    inked = np.flatnonzero((names != 255).any(axis=(0, 2)))
    gaps = np.diff(inked)
    assert (gaps >= preview.GAP).sum() == 2  # between three names
    assert np.ptp(inked) >= 2 * font.getlength("rlvigen-camera-hard")
