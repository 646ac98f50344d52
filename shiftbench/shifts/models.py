"""The visual model: the task's MJCF compiled a second time, with what shifts paint on added."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import mujoco

from shiftbench.shifts import solids

#: Spare textures: how many, and their size in pixels. A texture family colours the floor and the
#: walls with the 2-D ones and each solid of a suite task with a cube; larger sizes cost time at
#: every reset and are invisible at 64 px.
SPARE_2D, SIZE_2D = 4, 64
SPARE_CUBE, SIZE_CUBE = 6, 24

#: Kinds of objects whose order and names the two models must share.
_NAMED = ("BODY", "GEOM", "SITE", "CAMERA", "LIGHT", "MATERIAL")


def visual_model(
    xml: str, assets: Mapping[str, bytes]
) -> tuple[mujoco.MjModel, tuple[int, ...], tuple[int, ...]]:
    """Compile the task's MJCF with white spare textures and materials after its own ones.

    Args:
        xml: the MJCF that the physics was compiled from.
        assets: file name → contents of what the MJCF includes.

    Returns:
        The model, and the ids of the materials with a 2-D and with a cube texture of their own.
    """
    spec = mujoco.MjSpec.from_string(xml, include=dict(assets), assets=dict(assets))
    kinds = (
        ([f"shiftbench_spare_2d_{i}" for i in range(SPARE_2D)], "2D", SIZE_2D),
        ([f"shiftbench_spare_cube_{i}" for i in range(SPARE_CUBE)], "CUBE", SIZE_CUBE),
    )
    for names, kind, size in kinds:
        for name in names:
            _add_material(spec, name, kind, size)
    _add_material(spec, solids.NAME, "2D", solids.COUNT)
    solids.add_to(spec)
    with warnings.catch_warnings():
        # Of attributes that MuJoCo will drop one day; the MJCF is dm_control's.
        warnings.simplefilter("ignore", UserWarning)
        model = spec.compile()
    ids = (tuple(model.material(name).id for name in names) for names, _, _ in kinds)
    return model, *ids


def _add_material(spec: mujoco.MjSpec, name: str, kind: str, size: int) -> None:
    """Add a material with a white texture of its own, of ``size`` pixels a side."""
    spec.add_texture(
        name=name,
        type=getattr(mujoco.mjtTexture, f"mjTEXTURE_{kind}"),
        builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        width=size,
        height=size,
        rgb1=[1, 1, 1],
        rgb2=[1, 1, 1],
    )
    material = spec.add_material(name=name)
    textures = list(material.textures)
    textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    material.textures = textures


def check_equal(physics: mujoco.MjModel, visual: mujoco.MjModel) -> None:
    """Raise RuntimeError unless everything that has a name has the same index in both models."""
    for kind in _NAMED:
        which = getattr(mujoco.mjtObj, f"mjOBJ_{kind}")
        count = {"MATERIAL": "nmat", "CAMERA": "ncam"}.get(kind, f"n{kind.lower()}")
        for i in range(getattr(physics, count)):
            ours, theirs = (mujoco.mj_id2name(model, which, i) for model in (visual, physics))
            if ours != theirs:
                raise RuntimeError(
                    f"{kind.lower()} {i} is '{theirs}' in the physics, '{ours}' here"
                )
