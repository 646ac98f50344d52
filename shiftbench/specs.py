"""What a benchmark is made of, as frozen data read from strict TOML.

Unknown keys, missing keys and wrong types are errors that name the file, the key and what is
allowed; nothing is skipped in silence.
"""

from __future__ import annotations

import math
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from shiftbench.data import data_dir
from shiftbench.errors import ShiftBenchError, unknown
from shiftbench.levels import CLEAN, LEVELS, Shift, levels_of
from shiftbench.registry import FAMILIES

#: Render profile → what it is for; `shiftbench.envs.render` implements them.
RENDER_PROFILES = ("fast", "dm_control")

#: What a position in a task file may name.
POSITION_KINDS = ("joint", "body", "geom", "site")

_NAME = re.compile(r"\w[\w.-]*")


class Anchor(Struct, frozen=True, forbid_unknown_fields=True):
    """A return that fixes one end of the score scale, and where it comes from."""

    value: float
    source: str


class Anchors(Struct, frozen=True, forbid_unknown_fields=True):
    """Score 0 is the return of the uniform random policy, 100 that of the reference."""

    random: Anchor
    reference: Anchor


class Scale(Struct, frozen=True, forbid_unknown_fields=True):
    """The two returns that are score 0 and score 100.

    Raises:
        ValueError: they are not finite, or the reference is not above random.
    """

    random: float
    reference: float

    def __post_init__(self) -> None:
        _check(self.reference > self.random, "anchors", "a reference above random")
        _check(math.isfinite(self.reference - self.random), "anchors", "finite numbers")

    def score(self, episode_return: Any) -> Any:
        """Return 100 × (return − random) / (reference − random), not clipped."""
        return 100.0 * (episode_return - self.random) / (self.reference - self.random)


class Position(Struct, frozen=True, forbid_unknown_fields=True):
    """Something whose place one frame shows: one joint, or the place of one body, geom or site.

    Attributes:
        joint: a hinge, which gives the sine and the cosine of its angle, or a slide.
        body, geom, site: what has a place, in the camera's frame.
        axes: which of ``x`` (right), ``y`` (up) and ``z`` (towards the viewer) of that place.
        symmetry: a hinge turned by 1/symmetry of a full turn looks the same; its angle is
            multiplied by this.
    """

    joint: str = ""
    body: str = ""
    geom: str = ""
    site: str = ""
    axes: str = "xyz"
    symmetry: int = 1

    def __post_init__(self) -> None:
        named = [kind for kind in POSITION_KINDS if getattr(self, kind)]
        _check(len(named) == 1, "a position", f"one of {', '.join(POSITION_KINDS)}")
        _check(
            bool(self.axes) and sorted(set(self.axes) & set("xyz")) == sorted(self.axes),
            "axes",
            "x, y and z, each at most once",
        )
        _check(self.symmetry >= 1, "symmetry", "an integer of at least 1")
        if self.joint:
            _check(self.axes == "xyz", "axes", "only beside body, geom or site")
        else:
            _check(self.symmetry == 1, "symmetry", "only beside joint")

    @property
    def kind(self) -> str:
        """``joint``, ``body``, ``geom`` or ``site``."""
        return next(kind for kind in POSITION_KINDS if getattr(self, kind))

    @property
    def name(self) -> str:
        """Name of the joint, body, geom or site in the task's model."""
        return getattr(self, self.kind)


class Task(Struct, frozen=True, forbid_unknown_fields=True):
    """A dm_control environment with its protocol.

    Attributes:
        name: unique name; the file is called ``<name>.toml``.
        version: raised whenever anything that changes returns or frames changes.
        domain: dm_control suite domain, such as ``cartpole``, or ``manipulation``.
        task: dm_control task, such as ``balance`` or ``reach_site_vision``.
        action_repeat: environment (control) steps per agent step.
        episode_steps: length of an episode in environment steps.
        anchors: the two ends of the score scale.
        camera: dm_control camera, by name or number.
        positions: what one frame shows of the state: no velocity, and nothing that the camera
            follows. `shiftbench.envs.positions` reads them.
        description: one sentence for ``shiftbench list tasks``.
    """

    name: str
    version: int
    domain: str
    task: str
    action_repeat: int
    episode_steps: int
    anchors: Anchors
    camera: int | str = 0
    positions: tuple[Position, ...] = ()
    description: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name, "name")
        _check(self.version >= 1, "version", "an integer of at least 1")
        _check(self.action_repeat >= 1, "action_repeat", "an integer of at least 1")
        _check(self.episode_steps >= self.action_repeat, "episode_steps", "at least action_repeat")
        _ = self.scale  # checks the anchors

    @property
    def agent_steps(self) -> int:
        """Agent steps in an episode."""
        return -(-self.episode_steps // self.action_repeat)

    @property
    def scale(self) -> Scale:
        """What the anchors say of scores."""
        return Scale(self.anchors.random.value, self.anchors.reference.value)

    def score(self, episode_return: float) -> float:
        """Return 100 × (return − random) / (reference − random), not clipped."""
        return self.scale.score(episode_return)


class Suite(Struct, frozen=True, forbid_unknown_fields=True):
    """A named, versioned list of tasks, families and levels, with the evaluation protocol.

    Attributes:
        name: unique name.
        version: raised with any change; rows of different versions are not comparable.
        tasks: task names.
        families: shift families, equally weighted in every average.
        image_size: height and width of a frame in pixels.
        episodes: evaluation episodes per cell.
        levels: level name → severity in [0, 1]; ``none`` is added where it is missing.
        render: render profile.
    """

    name: str
    version: int
    tasks: tuple[str, ...]
    families: tuple[str, ...]
    image_size: int = 64
    episodes: int = 10
    levels: dict[str, float] = msgspec.field(default_factory=lambda: dict(LEVELS))
    render: str = "fast"
    description: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name, "name")
        _check(self.version >= 1, "version", "an integer of at least 1")
        _check(bool(self.tasks), "tasks", "at least one task")
        _check(bool(self.families), "families", "at least one family")
        _check(len(set(self.tasks)) == len(self.tasks), "tasks", "each task once")
        _check(len(set(self.families)) == len(self.families), "families", "each family once")
        _check(16 <= self.image_size <= 1024, "image_size", "16 to 1024")
        _check(self.episodes >= 1, "episodes", "at least 1")
        _check(self.render in RENDER_PROFILES, "render", " or ".join(RENDER_PROFILES))
        for level, severity in self.levels.items():
            _check_name(level, "levels")
            # `--shift` could not tell it from these.
            _check(level != "all" and level not in FAMILIES, "levels", "no family and not 'all'")
            _check(0.0 <= severity <= 1.0, f"levels.{level}", "a severity in 0..1")
        _check(self.levels.get(CLEAN, 0.0) == 0.0, "levels.none", "severity 0")
        for family in self.families:
            _check(family in FAMILIES, "families", ", ".join(FAMILIES))

    @property
    def id(self) -> str:
        """``<name>-v<version>``, the folder of its results."""
        return f"{self.name}-v{self.version}"

    def shifts(self) -> list[Shift]:
        """Every shift of the suite, the clean one first."""
        return [Shift.clean()] + [
            Shift(family, level, severity)
            for family in self.families
            for level, severity in levels_of(family, self.levels).items()
            if level != CLEAN
        ]


class AgentSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """How an agent sees and learns.

    Attributes:
        name: name in the agents table, such as ``pvm-partial``.
        algorithm: name in the algorithms registry.
        encoder: ``cnn``, ``synth``, ``synth-2``, ``timm:<name>`` or a registered one.
        mode: fine-tuning mode, a key of `shiftbench.finetune.MODES`.
        weights: path of the encoder's weight file where the user gave one.
        augment: what happens to training frames, a key of `shiftbench.augment.AUGMENTATIONS`,
            whether the agent is defined so or was overridden.
        options: what was overridden with respect to the named agent; part of the id.
    """

    name: str
    algorithm: str
    encoder: str = "cnn"
    mode: str = "scratch"
    weights: str = ""
    augment: str = "none"
    options: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def id(self) -> str:
        """The name in the rows: unlike agents never share one.

        ``pvm-partial``, or with overrides ``pvm-partial+encoder=timm:resnet18``.
        """
        return self.name + "".join(f"+{key}={self.options[key]}" for key in sorted(self.options))


def _check(condition: bool, key: str, allowed: str) -> None:
    if not condition:
        raise ValueError(f"{key}: allowed is {allowed}")


def _check_name(name: str, key: str) -> None:
    """Names become files and folders, and parts of flags."""
    _check(bool(_NAME.fullmatch(name)), key, "a word of letters, digits, '_', '-' and '.'")


def _convert(table: dict[str, Any], kind: type[Struct], where: str) -> Any:
    """Build ``kind`` from a TOML table, turning every fault into one line about ``where``."""
    try:
        return msgspec.convert(table, kind)
    except (msgspec.ValidationError, ValueError) as error:
        keys = ", ".join(kind.__struct_fields__)
        raise ShiftBenchError(f"{where}: {error} (keys: {keys})") from error


def read_toml(path: Path, flag: str = "") -> dict[str, Any]:
    """Parse a TOML file, which came from ``flag`` where one is named.

    Raises:
        ShiftBenchError: it cannot be read, or is broken; with the file and the line.
    """
    where = f"{flag} {path}".lstrip()
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ShiftBenchError(f"{where}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ShiftBenchError(f"{where}: not valid TOML: {error}") from error


def load_tasks(extra_dirs: tuple[Path, ...] = ()) -> dict[str, Task]:
    """Read every task: the shipped ones, installed plugins', then those of ``extra_dirs``.

    A plugin adds tasks with an entry point in the group ``shiftbench.tasks`` that resolves to a
    package or module beside whose file the TOML files lie.

    Raises:
        ShiftBenchError: a broken file, a name that differs from the file's, or a duplicate.
    """
    tasks: dict[str, Task] = {}
    origin: dict[str, Path] = {}
    for folder in (data_dir("tasks"), *_plugin_task_dirs(), *extra_dirs):
        if not folder.is_dir():
            raise ShiftBenchError(f"--tasks-dir {folder}: not a folder")
        for path in sorted(folder.glob("*.toml")):
            if path.name == "suites.toml":
                continue
            task = _convert(read_toml(path), Task, str(path))
            if task.name != path.stem:
                raise ShiftBenchError(f"{path}: name is '{task.name}', it must be '{path.stem}'")
            if task.name in tasks:
                raise ShiftBenchError(
                    f"{path}: task '{task.name}' is already defined in {origin[task.name]}"
                )
            tasks[task.name], origin[task.name] = task, path
    return tasks


def load_scales(path: Path) -> dict[str, Scale]:
    """Read a file of anchors: one table a task, with the returns ``random`` and ``reference``."""
    scales = {}
    flag = "--anchors"
    for name, table in read_toml(path, flag).items():
        if not isinstance(table, dict):
            raise ShiftBenchError(f"{flag} {path}: '{name}' must be a table [{name}] (one a task)")
        scales[name] = _convert(table, Scale, f"{flag} {path} [{name}]")
    return scales


@cache
def _plugin_task_dirs() -> tuple[Path, ...]:
    import importlib.util
    from importlib.metadata import entry_points

    folders = []
    for point in entry_points(group="shiftbench.tasks"):
        package = point.dist.name if point.dist else "an unnamed package"
        try:
            found = importlib.util.find_spec(point.module)
        except Exception as error:  # a parent package of the module may fail in any way
            raise ShiftBenchError(
                f"tasks of package '{package}': '{point.module}' cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error
        if found is None or found.origin is None:
            raise ShiftBenchError(
                f"tasks of package '{package}': module '{point.module}' does not exist"
            )
        folders.append(Path(found.origin).parent)
    return tuple(folders)


def load_suites(suite_file: Path | None = None) -> dict[str, Suite]:
    """Read the shipped suites and those of ``suite_file``: one table a suite."""
    suites: dict[str, Suite] = {}
    files = [(data_dir("tasks") / "suites.toml", "")]
    files += [(suite_file, "--suite-file")] if suite_file else []
    for path, flag in files:
        where = f"{flag} {path}".lstrip()
        for name, table in read_toml(path, flag).items():
            if not isinstance(table, dict):
                raise ShiftBenchError(f"{where}: '{name}' must be a table [{name}] (one a suite)")
            if name in suites:
                raise ShiftBenchError(f"{where}: suite '{name}' is already defined")
            if table.get("name", name) != name:  # rows say the name, and would pass for its suite's
                raise ShiftBenchError(f"{where} [{name}]: 'name' must be '{name}', or left out")
            suites[name] = _convert({"name": name, **table}, Suite, f"{where} [{name}]")
    return suites


def get_suite(name: str, suite_file: Path | None = None) -> Suite:
    """Return the suite called ``name``, or raise the error that lists the valid ones."""
    suites = load_suites(suite_file)
    if name not in suites:
        raise unknown("suite", name, suites, "--suite")
    return suites[name]


def get_task(name: str, tasks: dict[str, Task], flag: str = "--task") -> Task:
    """Return the task called ``name``, or raise the error that lists the valid ones."""
    if name not in tasks:
        raise unknown("task", name, tasks, flag)
    return tasks[name]
