"""A dm_control task seen through a camera, clean or shifted."""

from __future__ import annotations

from typing import Any

import numpy as np

from shiftbench import seeding
from shiftbench.envs import gl
from shiftbench.errors import ShiftBenchError
from shiftbench.registry import FAMILIES
from shiftbench.shifts.base import ShiftFamily
from shiftbench.specs import Shift, Task


class PixelEnv:
    """One task, one episode at a time.

    A shift changes the frames alone: equal seeds and actions give bit-identical states, rewards and
    lengths under every shift, and the clean shift gives bit-identical frames to none.

    Attributes:
        task: the protocol.
        action_dim: number of action dimensions A.
        steps: environment steps of this episode so far.
        agent_steps: agent steps of this episode so far.
        frames_per_second: frames in a second of simulated time.
        position_names: names of what `positions` returns.
        blind: whether frames are black instead of drawn; may be changed between two of them.
        late: whether `reset` and `step` leave a frame to `compose` and `capture`, but for an
            episode's last, and return a black one that `capture` fills; may be changed too.
        behind: whether the present frame is still to be filled.

    Args:
        task: the protocol.
        image_size: height and width of a frame in pixels.
        render: render profile.
        blind: draw nothing; every frame is black. For what needs returns alone.
        guarded: make a family that touches the physics an error. False for who looks for that.

    Raises:
        ShiftBenchError: dm_control lacks the task, its camera or one of its positions, the size or
            the render profile does not exist, or no OpenGL backend works.
    """

    def __init__(
        self,
        task: Task,
        *,
        image_size: int = 64,
        render: str = "fast",
        blind: bool = False,
        guarded: bool = True,
    ) -> None:
        gl.make_current()  # before dm_control is imported, which chooses a backend then
        from shiftbench.envs.guard import Guard
        from shiftbench.envs.loading import load
        from shiftbench.envs.positions import Positions
        from shiftbench.envs.render import Renderer
        from shiftbench.shifts.scene import Scene

        if not 16 <= image_size <= 1024:
            raise ShiftBenchError(f"image size {image_size}: allowed is 16 to 1024")
        self.task = task
        self._random = seeding.random_state(0)
        self._env, xml, assets = load(task, self._random)
        self.physics = self._env.physics
        spec = self._env.action_spec()
        # dm_control gives an actuator without limits the range ±1e10.
        if len(spec.shape) != 1 or np.abs([spec.minimum, spec.maximum]).max(initial=0.0) >= 1e10:
            raise ShiftBenchError(
                f"task '{task.name}': {task.domain}/{task.task} has no bounded action vector"
            )
        self.action_dim = spec.shape[0]
        self.frames_per_second = 1.0 / (self._env.control_timestep() * task.action_repeat)
        self._middle = (spec.maximum + spec.minimum) / 2
        self._half = (spec.maximum - spec.minimum) / 2
        try:
            self.scene = Scene(xml, assets, self.physics, task.camera, image_size, image_size)
        except ShiftBenchError as error:
            raise ShiftBenchError(f"task '{task.name}': {error}") from error
        self._positions = Positions(task, self.physics, self.scene.camera)
        self.position_names = self._positions.names
        self.render_profile = render
        self._renderer = Renderer(self.scene, render)
        self.blind = blind
        self.late = self.behind = False
        self._guard = Guard(self.physics) if guarded else None
        self._whole_guard = False
        self._families: dict[Shift, Any] = {}
        self._family: Any = None
        self._does: set[str] = set()
        self._shift = Shift.clean()
        self.steps = self.agent_steps = 0
        self._done = True
        self._closed = False
        self._frame: np.ndarray | None = None

    def reset(self, seed: int, shift: Shift | None = None, shift_seed: int = 0) -> np.ndarray:
        """Start an episode and return its first frame.

        Args:
            seed: of the initial state of the physics, in [0, 2**63).
            shift: what changes in the picture; None and the clean shift change nothing.
            shift_seed: of the appearance under ``shift``.

        Returns:
            uint8 (S, S, 3).

        Raises:
            ShiftBenchError: as `draw`, or there is no such family.
        """
        self._random.set_state(seeding.random_state(seed).get_state())
        self._env.reset()
        self.steps = self.agent_steps = 0
        self._done = False
        self.scene.restore()
        self.scene.sync()
        self._family, self._does = None, set()
        if shift is not None and shift.severity > 0:
            self._apply(shift, seeding.rng(shift_seed))
        return self._next()

    def _apply(self, shift: Shift, rng: np.random.Generator) -> None:
        """Let the family of ``shift`` edit the clean scene."""
        self._shift = shift
        known = shift in self._families
        if not known:
            self._families[shift] = FAMILIES.get(shift.family).for_shift(shift)
        self._family = self._families[shift]
        # Every frame's work is the same code: one episode shows whether it writes to the model.
        self._whole_guard = not known
        if self._guard:
            self._guard.hold(model=True)
        self._family.apply(self.scene, shift.severity, rng)
        self._check_physics("apply")
        # What a family leaves as it is costs nothing, and need not be watched.
        methods = {name: getattr(self._family, name) for name in ("step", "decorate", "post")}
        self._does = {
            name
            for name, method in methods.items()
            if getattr(method, "__func__", method) is not getattr(ShiftFamily, name)
        }

    def _check_physics(self, method: str) -> None:
        """Raise ShiftBenchError where the family has touched the physics in ``method``."""
        touched = self._guard.touched() if self._guard else ""
        if touched:
            raise ShiftBenchError(
                f"{self._family_label()} changed {touched} in {method}: a family may change "
                "pixels only"
            )

    def _family_label(self) -> str:
        name = self._shift.family
        return f"shift family '{name}' of {FAMILIES.origin(name)}"

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, float]:
        """Hold ``action`` for ``task.action_repeat`` environment steps.

        Args:
            action: float (A,) in [-1, 1]; values outside are clipped. -1 and 1 are the ends of
                dm_control's own range.

        Returns:
            The frame after the last of them, uint8 (S, S, 3); the sum of the rewards; whether the
            episode is over; the discount, which is 0 only where the task itself ended and 1 at the
            episode's time limit.
        """
        if self._done:
            raise RuntimeError("the episode is over: call reset")
        action = np.asarray(action, np.float64)
        if action.shape != (self.action_dim,) or not np.isfinite(action).all():
            raise ShiftBenchError(
                f"task '{self.task.name}' wants {self.action_dim} finite numbers as an action, "
                f"not {action!r}"
            )
        control = self._middle + np.clip(action, -1.0, 1.0) * self._half
        reward, discount = 0.0, 1.0
        for _ in range(min(self.task.action_repeat, self.task.episode_steps - self.steps)):
            timestep = self._env.step(control)
            self.steps += 1
            reward += timestep.reward
            if timestep.last():
                discount = float(timestep.discount)
                self._done = True
                break
        self._done |= self.steps >= self.task.episode_steps
        self.agent_steps += 1
        return self._next(), float(reward), self._done, discount

    def _next(self) -> np.ndarray:
        """Return the frame after a reset or a step, or a black one in its place."""
        self.behind = self.late and not self._done
        self._frame = self._black() if self.behind else self.draw()
        return self._frame

    def _black(self) -> np.ndarray:
        return np.zeros((self.scene.height, self.scene.width, 3), np.uint8)

    def draw(self) -> np.ndarray:
        """Draw frame ``agent_steps`` from the physics as it now stands: uint8 (S, S, 3).

        `reset` and `step` do it themselves. Drawing twice moves a moving shift twice.

        Raises:
            ShiftBenchError: as `compose` and `capture`.
        """
        if self.blind:
            return self._black()
        self.compose()
        return self.capture()

    def compose(self) -> None:
        """Let the scene show the physics as it now stands, under the shift: half of `draw`.

        Raises:
            ShiftBenchError: the shift's family changes the physics.
        """
        self.scene.sync()
        family = self._family
        if family is None:
            self.scene.update()
            return
        if self._guard:
            self._guard.hold(model=self._whole_guard)
        if "step" in self._does:
            family.step(self.scene, self.agent_steps)
            self._check_physics("step")
        self.scene.update()
        if "decorate" in self._does:
            family.decorate(self.scene, self.agent_steps)
            self._check_physics("decorate")

    def capture(self) -> np.ndarray:
        """Draw the scene as `compose` left it: uint8 (S, S, 3).

        Raises:
            ShiftBenchError: the shift's family returns something else than such an image, or
                changes the physics.
        """
        picture = self._picture()
        if self.behind:
            self._frame[:] = picture  # who was given it sees it
            self.behind = False
        else:
            self._frame = picture
        return self._frame

    def _picture(self) -> np.ndarray:
        family = self._family
        if family is None:
            return self._renderer.draw()[0]
        rgb, depth = self._renderer.draw(depth=family.needs_depth)
        if "post" not in self._does:
            return rgb
        image = family.post(rgb, depth, self.agent_steps)
        self._check_physics("post")
        if (
            not isinstance(image, np.ndarray)
            or image.dtype != np.uint8
            or image.shape != (self.scene.height, self.scene.width, 3)
        ):
            array = isinstance(image, np.ndarray)
            got = f"{image.dtype} {image.shape}" if array else type(image).__name__
            raise ShiftBenchError(
                f"{self._family_label()} returned {got} from post, it must return uint8 "
                f"{(self.scene.height, self.scene.width, 3)}"
            )
        return np.array(image, order="C")  # a copy: the family may use its own array again

    def render(self) -> np.ndarray:
        """Return a copy of the present frame, uint8 (S, S, 3)."""
        if self._frame is None:
            raise RuntimeError("there is no frame yet: call reset")
        return self._frame.copy()

    def geoms(self) -> np.ndarray:
        """Return which geom of the model each pixel of the last frame drawn shows.

        A family may have moved the camera; what it adds or paints in front does not count.

        Returns:
            int32 (S, S), -1 where there is none.
        """
        return self._renderer.geoms()

    def state(self) -> np.ndarray:
        """Return a copy of the physics state, float64 (n,)."""
        return self.physics.get_state().copy()

    def positions(self) -> np.ndarray:
        """Return what the present frame shows of the state, without any shift: float32 (P,)."""
        return self._positions.read()

    def close(self) -> None:
        """Free the graphics side and the simulator; twice does no harm."""
        if not self._closed:
            self._closed = True
            self._renderer.close()
            self._env.close()
