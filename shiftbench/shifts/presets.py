"""Other suites' published levels, in the numbers of our families. Data only.

``docs/presets.md`` says what is equal (these numbers) and what is not (the rendering).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

#: Family → number of its table → value. What is not named is as at severity 0.
Look = Mapping[str, Mapping[str, float]]


class Preset(NamedTuple):
    """A published level.

    Attributes:
        source: publication and, where it says more than that, its code.
        looks: each episode draws one of them.
    """

    source: str
    looks: tuple[Look, ...]


_DCS = "Distracting Control Suite (Stone et al. 2021, arXiv 2101.02722)"
_DMCGB = "DMC-GB (Hansen & Wang 2021, arXiv 2011.13389)"
_DMCGB2 = "DMC-GB2 (Almuzairee et al. 2024, arXiv 2405.17416)"
_RLVIGEN = "RL-ViGen (Yuan et al. 2023, arXiv 2307.10224)"
_JONES = "Jones, Zhou & Pattinson 2025 (arXiv 2509.12531), CARLA"


def _dcs(scale: float) -> Preset:
    """Return its level of a scale; static, as is its default.

    Its floor keeps 0.3 of itself over the background in most of its tasks.
    """
    camera = dict.fromkeys(("azimuth", "elevation", "roll"), 90 * scale)
    camera |= {"nearer": 0.5 * scale, "farther": 1.5 * scale}
    background = {"opacity": 1.0, "floor": 0.7}
    return Preset(_DCS, ({"camera": camera, "color": {"rgb": scale}, "background": background},))


#: Name → preset.
PRESETS: dict[str, Preset] = {
    "dcs-easy": _dcs(0.1),
    "dcs-medium": _dcs(0.2),
    "dcs-hard": _dcs(0.3),
    "dmcgb-color-easy": Preset(_DMCGB, ({"color": {"normal": 0.10}},)),
    "dmcgb-color-hard": Preset(_DMCGB, ({"color": {"normal": 0.18}},)),
    # Its videos play, which any speed brings about; how far a picture drifts is ours.
    "dmcgb-video-easy": Preset(_DMCGB, ({"background": {"opacity": 1.0, "speed": 0.01}},)),
    "dmcgb-video-hard": Preset(
        _DMCGB, ({"background": {"opacity": 1.0, "floor": 1.0, "speed": 0.01}},)
    ),
    "dmcgb2-rotate-easy": Preset(_DMCGB2, ({"camera": {"roll": 90.0}},)),
    "dmcgb2-rotate-hard": Preset(_DMCGB2, ({"camera": {"roll": 180.0}},)),
    # Its code divides the angles of the hard set by 1.5 for the easy one.
    "dmcgb2-shift-easy": Preset(_DMCGB2, ({"camera": {"aside": 10 / 1.5}},)),
    "dmcgb2-shift-hard": Preset(_DMCGB2, ({"camera": {"aside": 10.0}},)),
    "rlvigen-light-easy": Preset(
        _RLVIGEN, ({"lighting": {"nearest": 3.0, "farthest": 5.0, "tint": 0.2}},)
    ),
    "rlvigen-light-hard": Preset(
        _RLVIGEN, ({"lighting": {"nearest": 9.0, "farthest": 11.0, "tint": 0.2}},)
    ),
    "rlvigen-camera-easy": Preset(_RLVIGEN, ({"camera": {"offset": 0.08}},)),
    "rlvigen-camera-hard": Preset(_RLVIGEN, ({"camera": {"offset": 0.15}},)),
    "jones2025-weak": Preset(
        _JONES,
        (
            {"weather": {"cloud": 20.0, "fog": 20.0, "sun": 10.0}},
            {"weather": {"cloud": 80.0, "rain": 50.0, "fog": 30.0, "sun": 20.0}},
        ),
    ),
    "jones2025-strong": Preset(
        _JONES,
        (
            {"weather": {"cloud": 100.0, "fog": 100.0, "sun": -90.0}},
            {"weather": {"cloud": 100.0, "fog": 100.0, "sun": -90.0, "rain": 100.0, "wind": 100.0}},
        ),
    ),
}
