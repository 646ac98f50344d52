"""The shifts that a user may name."""

from __future__ import annotations

import pytest
from support import still

from shiftbench.errors import ShiftBenchError
from shiftbench.shifts.presets import PRESETS
from shiftbench.specs import LEVELS, Shift


def test_shift_selection(mini):
    def names(text):
        return [str(s) for s in Shift.parse(text, mini)]

    assert names("none") == names("texture:none") == ["none:none"]
    assert names("severe") == [f"{family}:severe" for family in mini.families]
    assert names("preset:none") == names("none:none") == ["none:none"]
    assert names("preset:dcs-hard") == ["preset:dcs-hard"]
    assert names("texture:mild") == ["texture:mild"]
    assert names("texture") == [f"texture:{level}" for level in mini.levels if level != "none"]
    assert len(names("all")) == 1 + len(mini.families) * 4


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("sever", "severe"),
        ("textur:severe", "texture"),
        ("texture:sevre", "severe"),
        ("textur:none", "texture"),
        ("preset:dcs-hrad", "dcs-hard"),
        ("combinde", "combined"),
    ],
)
def test_unknown_shift_names_the_nearest(mini, text, nearest):
    with pytest.raises(ShiftBenchError, match=f"Did you mean '{nearest}'"):
        Shift.parse(text, mini)


def test_a_family_with_its_own_levels_has_no_others(mini):
    for text in ("preset:severe", "texture:dcs-hard"):
        with pytest.raises(ShiftBenchError, match=f"'{text.partition(':')[2]}' for --shift"):
            Shift.parse(text, mini)
    with pytest.raises(ShiftBenchError, match="--shift preset: .*name one: preset:dcs-easy, "):
        Shift.parse("preset", mini)
    assert all(Shift.one(f"preset:{name}").severity == 1 for name in PRESETS)


@pytest.mark.parametrize("severity", [-0.1, 1.1, float("nan")])
def test_a_severity_lies_between_0_and_1(severity):
    with pytest.raises(ShiftBenchError, match="texture:mild: severity .*: allowed is 0 to 1"):
        Shift("texture", "mild", severity)


@pytest.mark.parametrize(
    ("text", "shows"),
    [
        ("none", False),
        ("background:mild", True),
        ("combined:mild", True),
        ("texture:mild", False),
        ("sensor:mild", False),
        ("preset:dcs-hard", True),
        ("preset:dmcgb-video-easy", True),
        ("preset:dmcgb-color-hard", False),
        ("preset:jones2025-weak", False),
    ],
)
def test_pictures_belong_to_the_shifts_that_show_them(tmp_path, monkeypatch, text, shows):
    still(tmp_path / "a.png", (1, 2, 3))
    monkeypatch.chdir(tmp_path.parent)
    shift = Shift.one(text, tmp_path.name)
    assert shift.backgrounds == (str(tmp_path.resolve()) if shows else "")
    assert str(shift) == ("none:none" if text == "none" else text)
    assert Shift.one(text, "").backgrounds == ""


def test_a_folder_without_pictures_is_refused_at_once(tmp_path):
    with pytest.raises(ShiftBenchError, match="no image, GIF or video"):
        Shift.one("background:mild", tmp_path)
    with pytest.raises(ShiftBenchError, match="No such file or directory"):
        Shift("background", "mild", LEVELS["mild"]).showing(tmp_path / "no")
