"""The one OpenGL context of the process.

MuJoCo draws into whichever context is current, and several contexts in one process silently give
empty or wrong frames, so there is one: made when the first frame is wanted, kept until the process
ends, tied to the thread that made it.

The backend is ``MUJOCO_GL`` where it is set, else EGL, else OSMesa on Linux, CGL on macOS and GLFW
elsewhere. "Works" means that a context was made and a pixel came back from it.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from typing import Any

from shiftbench.errors import ShiftBenchError

#: Names that MuJoCo understands in ``MUJOCO_GL`` → module with a ``GLContext``.
MODULES = {
    "egl": "mujoco.egl",
    "osmesa": "mujoco.osmesa",
    "glfw": "mujoco.glfw",
    "glx": "mujoco.glfw",
    "cgl": "mujoco.cgl",
}

#: Platform (`sys.platform`) → backends in the order in which they are tried.
ORDER = {"linux": ("egl", "osmesa"), "darwin": ("cgl",)}

_HELP = (
    "no OpenGL backend works here ({reasons}). On Debian: apt-get install libegl1 libgl1-mesa-dri "
    "(EGL) or libosmesa6 (software); MUJOCO_GL=egl or MUJOCO_GL=osmesa chooses one"
)

_context: Any = None
_backend = ""
_thread = 0


def backend() -> str:
    """Return the backend in use, opening the context where there is none yet."""
    ensure()
    return _backend


def ensure() -> None:
    """Make the process's context where there is none yet.

    Raises:
        ShiftBenchError: no backend works, or the context belongs to another thread or to the
            process that this one was forked from.
    """
    if _context is None:
        _open_first()
    elif _thread != threading.get_ident():
        raise ShiftBenchError(
            "environments must be used in the thread that made the first one: "
            "OpenGL has one context a process (start further processes with 'spawn')"
        )


def _open_first() -> None:
    """Open the first backend that works, and tell dm_control which one that was."""
    global _context, _backend, _thread
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    if chosen and chosen not in MODULES:
        raise ShiftBenchError(
            f"MUJOCO_GL='{chosen}' is not a backend. Valid: {', '.join(MODULES)}, or unset"
        )
    reasons = []
    for name in (chosen,) if chosen else ORDER.get(sys.platform, ("glfw",)):
        before = os.environ.get("PYOPENGL_PLATFORM")
        try:
            _context = _open(name)
        # A missing driver shows as anything from AttributeError inside PyOpenGL to GLError.
        except Exception as error:
            reasons.append(f"{name}: {str(error).splitlines()[0] if str(error) else repr(error)}")
            _forget(before)
            continue
        _backend, _thread = name, threading.get_ident()
        # dm_control picks its backend when it is imported; the same one, or PyOpenGL would be
        # asked for two platforms.
        os.environ["MUJOCO_GL"] = name
        return
    raise ShiftBenchError(_HELP.format(reasons="; ".join(reasons)))


def _open(name: str) -> Any:
    """Make a context of backend ``name`` current and read a pixel back from it."""
    import mujoco

    context = importlib.import_module(MODULES[name]).GLContext(64, 64)
    context.make_current()
    model = mujoco.MjModel.from_xml_string(_PROBE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    scene = mujoco.MjvScene(model, maxgeom=4)
    mujoco.mjv_updateScene(
        model,
        data,
        mujoco.MjvOption(),
        None,
        mujoco.MjvCamera(),
        mujoco.mjtCatBit.mjCAT_ALL,
        scene,
    )
    import numpy as np

    window = mujoco.MjrRect(0, 0, 16, 16)
    pixels = np.zeros((16, 16, 3), np.uint8)
    drawing = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, drawing)
    mujoco.mjr_render(window, scene, drawing)
    mujoco.mjr_readPixels(pixels, None, window, drawing)
    drawing.free()
    if not pixels.any():
        raise RuntimeError("it draws empty frames")
    return context


#: A white box that glows, so that any working renderer gives pixels above zero.
_PROBE = """
<mujoco>
  <visual><global offwidth="16" offheight="16"/><quality shadowsize="0" offsamples="0"/></visual>
  <asset><material name="glow" emission="1"/></asset>
  <worldbody><geom type="box" size="1 1 1" material="glow"/></worldbody>
</mujoco>
"""


def _forget(platform: str | None) -> None:
    """Undo the import of PyOpenGL for a backend that failed: it binds to one platform for good."""
    for module in list(sys.modules):
        if module.split(".")[0] == "OpenGL" or module in MODULES.values():
            del sys.modules[module]
    if platform is None:
        os.environ.pop("PYOPENGL_PLATFORM", None)
    else:
        os.environ["PYOPENGL_PLATFORM"] = platform
