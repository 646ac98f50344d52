"""A user's own backgrounds: images, GIFs and videos, from the folder to the rows."""

from __future__ import annotations

import csv
import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from support import flat, gif, still, video

from shiftbench.envs.pixels import PixelEnv
from shiftbench.errors import ShiftBenchError
from shiftbench.shifts import pictures
from shiftbench.specs import LEVELS, Shift

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


@pytest.fixture
def folder(tmp_path):
    """One picture of each kind, whose order is that of their names."""
    made = tmp_path / "pictures"
    made.mkdir()
    video(made / "c.mp4", [flat(level) for level in (20, 90, 160, 230)])
    gif(made / "b.gif", [GREEN, BLUE, RED])
    still(made / "a.png", RED)
    (made / "notes.txt").write_text("no picture")
    (made / "._a.png").write_bytes(b"what a file manager left")
    return made


def shown(folder, level: str) -> Shift:
    return Shift("background", level, LEVELS[level]).showing(folder)


# -- decoding --------------------------------------------------------------------------------------


def test_images_gifs_and_videos_become_clips(folder):
    image, animation, film = pictures.load(str(folder), 16)
    assert image.shape == (1, 16, 16, 3)
    assert (image == RED).all()
    assert animation.shape == (3, 16, 16, 3)
    np.testing.assert_allclose(animation[:, 8, 8], [GREEN, BLUE, RED], atol=2)
    assert film.shape == (4, 16, 16, 3)
    np.testing.assert_allclose(film.mean((1, 2, 3)), (20, 90, 160, 230), atol=8)
    assert {clip.dtype for clip in (image, animation, film)} == {np.dtype(np.uint8)}


def test_it_is_the_middle_square_that_is_shown(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = GREEN
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide.transpose(1, 0, 2)).save(tmp_path / "tall.PNG")
    for clip in pictures.load(str(tmp_path), 10):
        assert (clip == GREEN).all()


def test_transparent_pictures_are_read_without_a_warning(tmp_path, recwarn):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, *BLUE])
    image.save(tmp_path / "palette.png", transparency=b"\x00\xff")
    Image.new("RGBA", (8, 8), (*BLUE, 128)).save(tmp_path / "glass.png")
    for clip in pictures.load(str(tmp_path), 4):
        assert (clip == BLUE).all()
    assert not [w for w in recwarn if "alette" in str(w.message)]


def test_a_folder_is_decoded_once(folder, cartpole):
    first = pictures.load(str(folder), 64)
    assert pictures.load(str(folder), 64) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0][:] = 0
    env = PixelEnv(cartpole)
    shift = shown(folder, "extreme")
    frame = env.reset(0, shift, 1)
    shutil.rmtree(folder)
    assert (env.reset(0, shift, 1) == frame).all()
    env.close()


def test_what_is_remembered_belongs_to_a_folder_not_to_its_name(tmp_path, monkeypatch):
    for name, colour in (("one", RED), ("two", BLUE)):
        (tmp_path / name / "pictures").mkdir(parents=True)
        still(tmp_path / name / "pictures" / "a.png", colour)
    found = []
    for name in ("one", "two"):
        monkeypatch.chdir(tmp_path / name)
        found.append(pictures.load(shown("pictures", "mild").backgrounds, 8)[0])
    assert (found[0] == RED).all()
    assert (found[1] == BLUE).all()


def test_long_videos_are_cut_and_large_folders_refused(folder, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_FRAMES", 3)
    assert [len(clip) for clip in pictures.load(str(folder), 12)] == [1, 3, 3]
    monkeypatch.setattr(pictures, "MOST_BYTES", 2 * 3 * 13 * 13)
    assert [len(clip) for clip in pictures.load(str(folder), 13)] == [1, 2, 2]
    monkeypatch.setattr(pictures, "MOST_IN_ALL", 1000)
    with pytest.raises(ShiftBenchError, match=r"pictures: decoded at 14 px it takes more than"):
        pictures.load(str(folder), 14)


def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded(folder, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_PIXELS", 1199)
    with pytest.raises(ShiftBenchError, match=r"a\.png: 40 × 30 pixels"):
        pictures.load(str(folder), 15)
    (folder / "a.png").unlink()
    (folder / "b.gif").unlink()
    with pytest.raises(ShiftBenchError, match=r"c\.mp4: 48 × 32 pixels"):
        pictures.load(str(folder), 15)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.png", b"\x89PNG\r\n\x1a\n and no more", "cannot be decoded"),
        ("x.jpg", b"", "cannot be decoded"),
        ("x.gif", b"GIF89a", "cannot be decoded"),
        ("x.mp4", b"no video", "cannot be decoded"),
    ],
)
def test_broken_files_are_named(folder, name, content, expected):
    (folder / name).write_bytes(content)
    with pytest.raises(ShiftBenchError, match=rf"--backgrounds .*{name}: {expected}"):
        pictures.load(str(folder), 8)


def test_a_cut_off_image_is_refused(folder):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(folder / "x.png")
    whole = (folder / "x.png").read_bytes()
    (folder / "x.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ShiftBenchError, match=r"x\.png: cannot be decoded"):
        pictures.load(str(folder), 8)


def test_a_video_without_frames_and_one_without_pyav(folder, monkeypatch):
    video(folder / "empty.avi", [])
    with pytest.raises(ShiftBenchError, match=r"empty\.avi: (it has no frames|cannot be decoded)"):
        pictures.load(str(folder), 8)
    (folder / "empty.avi").unlink()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ShiftBenchError, match=r"c\.mp4: videos need PyAV: pip install 'shiftb"):
        pictures.load(str(folder), 8)


# -- in frames -------------------------------------------------------------------------------------


def corner(env, shift, steps=6, look=0) -> np.ndarray:
    """Return a piece of sky at each agent step: uint8 (steps, 8, 8, 3)."""
    frames = [env.reset(0, shift, look)]
    frames += [env.step(np.zeros(env.action_dim))[0] for _ in range(steps - 1)]
    return np.array(frames)[:, :8, :8]


@pytest.mark.parametrize("level", ["moderate", "severe"])
def test_a_video_plays_to_and_fro_where_the_level_moves(shift_envs, tmp_path, level):
    video(tmp_path / "film.mp4", [flat(v) for v in (10, 20, 30, 40)])
    seen = corner(shift_envs["cartpole_balance"], shown(tmp_path, level), 13).mean((1, 2, 3))
    changes = np.diff(seen)
    if level == "moderate":
        assert not changes.any()
    else:
        assert (np.abs(changes) > 1).all()
        np.testing.assert_allclose(seen[:7], seen[6:13], atol=1)
        assert (np.diff(np.sign(changes)) != 0).sum() >= 3


@pytest.mark.parametrize("level", ["moderate", "severe"])
def test_a_still_drifts_where_the_level_moves(shift_envs, tmp_path, level):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    seen = corner(shift_envs["cartpole_balance"], shown(tmp_path, level), 20)
    assert (seen != seen[0]).any() == (level == "severe")


def test_bright_pictures_are_darkened_and_each_seed_draws_one(shift_envs, tmp_path):
    env = shift_envs["cartpole_balance"]
    for i, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]):
        still(tmp_path / f"{i}.png", colour)
    shift = shown(tmp_path, "extreme")
    drawn = [corner(env, shift, 1, look)[0, 0, 0] for look in range(20)]
    assert len({tuple(colour) for colour in drawn}) == 4
    assert (corner(env, shift, 1, 3)[0, 0, 0] == drawn[3]).all()
    assert max(colour @ [0.2126, 0.7152, 0.0722] for colour in drawn) < 0.4 * 255


def test_pictures_change_pixels_only(shift_envs, folder):
    env = shift_envs["finger_spin"]

    def play(shift):
        frames, rewards = [env.reset(3, shift, 1)], []
        for action in np.random.default_rng(0).uniform(-1, 1, (5, env.action_dim)):
            frame, reward, _, _ = env.step(action)
            frames.append(frame)
            rewards.append(reward)
        return np.array(frames), rewards, env.state()

    clean, own, pattern = (
        play(shift)
        for shift in (None, shown(folder, "severe"), Shift("background", "severe", 0.75))
    )
    for other in (own, pattern):
        assert other[1] == clean[1]
        assert (other[2] == clean[2]).all()
    assert (own[0] != pattern[0]).any(axis=(1, 2, 3)).all()


# -- in rows ---------------------------------------------------------------------------------------


def test_the_hash_is_of_contents_in_their_order(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "notes.txt").write_text("another note")
    assert pictures.content_hash(str(copy)) == pictures.content_hash(str(folder))
    swapped = tmp_path / "swapped"
    shutil.copytree(folder, swapped)
    (swapped / "a.png").rename(swapped / "z.png")
    assert pictures.content_hash(str(swapped)) != pictures.content_hash(str(folder))


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_run_holds_their_hash_where_they_are_shown(call, mine, folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    still(other / "a.png", BLUE)
    names = ("background:full", "combined:full", "preset:dcs-easy",
             "lighting:half", "preset:dmcgb-color-easy")  # fmt: skip
    shifts = [word for name in names for word in ("--shift", name)]

    def hashes(out, *flags) -> dict[str, str]:
        done = call(
            "run", "--agent", "random", "--episodes", 2, "--out", out, *mine, *shifts, *flags
        )
        assert done.code == 0, done.err
        found = {}
        for path in (tmp_path / out / "mine-v1" / "cells").rglob("*.csv"):
            with path.open(newline="") as file:
                for row in csv.DictReader(file):
                    found[f"{row['family']}:{row['level']}"] = row["shift_hash"]
        return found

    plain = hashes("plain")
    own, again, another = (
        hashes(out, "--backgrounds", pictures_)
        for out, pictures_ in (("own", folder), ("again", folder), ("another", other))
    )
    assert set(plain) == {"none:none", *names}
    assert own == again
    for name in names[:3]:
        assert len({found[name] for found in (plain, own, another)}) == 3, name
    for name in (*names[3:], "none:none"):
        assert plain[name] == own[name] == another[name], name
