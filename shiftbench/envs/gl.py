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
import warnings
from typing import TYPE_CHECKING, Any

from shiftbench.errors import ShiftBenchError

if TYPE_CHECKING:
    import mujoco

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

_VARIABLES = ("MUJOCO_GL", "PYOPENGL_PLATFORM")

_HELP = (
    "no OpenGL backend works here ({reasons}). On Debian: apt-get install libegl1 libgl1-mesa-dri "
    "(EGL) or libosmesa6 (software); MUJOCO_GL=egl or MUJOCO_GL=osmesa chooses one"
)

_context: Any = None
_backend = ""
_owner = (0, 0)


def backend() -> str:
    """Return the name of the backend in use, opening the context where there is none yet."""
    make_current()
    return _backend


def driver() -> str:
    """Return the name of the device or software that draws, such as ``llvmpipe (LLVM 15.0.6)``."""
    make_current()
    from OpenGL import GL

    return GL.glGetString(GL.GL_RENDERER).decode()


def make_current() -> None:
    """Make the process's context current, opening it where there is none yet.

    Costs 6 µs, so it stands before every frame: whoever draws with another context in between, such
    as dm_control's own renderer, does no harm to ours.

    Raises:
        ShiftBenchError: no backend works, or the context belongs to another thread or to the
            process that this one was forked from.
    """
    if _context is None:
        _open_first()
    elif _owner != (os.getpid(), threading.get_ident()):
        raise ShiftBenchError(
            "frames are drawn only by the process and the thread that drew the first one: OpenGL "
            "has one context a process (start further processes with 'spawn', not 'fork')"
        )
    else:
        _context.make_current()


def drawing_context(model: mujoco.MjModel) -> mujoco.MjrContext:
    """Upload a model's meshes, textures and an offscreen buffer of the size in ``model.vis``.

    Several may live in the one OpenGL context. ``free()`` releases one early.
    """
    import mujoco

    make_current()
    # The font scale that dm_control uses; text is never drawn.
    return mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150)


def _open_first() -> None:
    """Open the first backend that works, and tell dm_control which one that was."""
    global _context, _backend, _owner
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    if chosen and chosen not in MODULES:
        raise ShiftBenchError(
            f"MUJOCO_GL='{chosen}' is not a backend. Valid: {', '.join(MODULES)}, or unset"
        )
    # Mesa's software renderer would start a thread a core; frames as small as ours wait for them
    # longer than they draw. Read when its context is made, so a value of the user's stays.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    reasons = []
    for name in (chosen,) if chosen else ORDER.get(sys.platform, ("glfw",)):
        before = {key: os.environ.get(key) for key in _VARIABLES}
        # MuJoCo's loader of OpenGL functions reads it, and so does dm_control when it is imported:
        # another answer there would ask PyOpenGL for two platforms.
        os.environ["MUJOCO_GL"] = name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what matters of them is in the error
                _context = _open(name)
        # A missing driver shows as anything from AttributeError inside PyOpenGL to GLError.
        except Exception as error:
            reasons.append(f"{name}: {str(error).splitlines()[0] if str(error) else repr(error)}")
            _forget(before)
            continue
        # It lives as long as the process. Freed by Python's teardown it would complain that the
        # display is gone already, for dm_control closes the display it shares with us.
        _context.free = lambda: None
        _backend, _owner = name, (os.getpid(), threading.get_ident())
        return
    raise ShiftBenchError(_HELP.format(reasons="; ".join(reasons)))


def _open(name: str) -> Any:
    """Make a context of backend ``name`` current, and draw in it to see that it works."""
    import mujoco
    import numpy as np

    context = importlib.import_module(MODULES[name]).GLContext(64, 64)
    context.make_current()
    model = mujoco.MjModel.from_xml_string(_PROBE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    scene = mujoco.MjvScene(model, maxgeom=4)
    everything = mujoco.mjtCatBit.mjCAT_ALL
    mujoco.mjv_updateScene(
        model, data, mujoco.MjvOption(), None, mujoco.MjvCamera(), everything, scene
    )
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


def _forget(environment: dict[str, str | None]) -> None:
    """Undo the import of PyOpenGL for a backend that failed: it binds to one platform for good."""
    for module in list(sys.modules):
        if module.split(".")[0] == "OpenGL" or module in MODULES.values():
            del sys.modules[module]
    for key, value in environment.items():
        if value is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = value
