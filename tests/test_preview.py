"""Contact sheets."""

from __future__ import annotations

import numpy as np
import pytest

from shiftbench import preview
from shiftbench.envs.pixels import PixelEnv
from shiftbench.specs import Shift


@pytest.fixture
def laid_out(monkeypatch) -> dict:
    """Catch what the sheet is made of, on its way to the layout."""
    caught = {}
    layout = preview._grid

    def grid(title, row_names, column_names, rows):
        caught.update(title=title, row_names=row_names, column_names=column_names, rows=rows)
        return layout(title, row_names, column_names, rows)

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
