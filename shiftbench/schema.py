"""The columns of the row files, and their versions.

``results/README.md`` documents every column of `COLUMNS`; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    import pandas as pd

#: Raised with every change of the columns' meaning. Older files stay readable, newer are refused.
SCHEMA = 1


class Column(Struct, frozen=True):
    """A column of the row files.

    Attributes:
        name: heading.
        kind: ``str``, ``int`` or ``float``.
        doc: meaning, with units.
        required: whether a file without it is refused.
    """

    name: str
    kind: str
    doc: str
    required: bool = False


COLUMNS = (
    Column("agent", "str", "id of the agent: its name and every override", True),
    Column("task", "str", "name of the task", True),
    Column("family", "str", "shift family, `none` for the clean arm", True),
    Column("level", "str", "shift level, `none` for the clean arm", True),
    Column("train_seed", "int", "training seed of the agent", True),
    Column("episode", "int", "number of the evaluation episode, from 0", True),
    Column("return", "float", "sum of the rewards of the episode", True),
    Column("score", "float", "100 × (return − random) / (reference − random), not clipped"),
    Column("severity", "float", "severity of the level, in 0..1"),
    Column("length", "int", "length of the episode in environment steps"),
    Column("schema", "int", "version of these columns"),
    Column("suite", "str", "name of the suite"),
    Column("suite_version", "int", "version of the suite"),
    Column("task_version", "int", "version of the task"),
    Column("image_size", "int", "height and width of a frame in pixels"),
    Column("render", "str", "render profile"),
    Column("train_steps", "int", "environment steps that the agent was trained for"),
    Column("checkpoint", "str", "SHA-256 of the checkpoint file, empty where there is none"),
    Column(
        "shift_hash",
        "str",
        "first 12 hex digits of a SHA-256 over the Python files in the family's folder, "
        "the severity and the user's own pictures that it shows",
    ),
    Column("shiftbench", "str", "version of shiftbench"),
    Column("mujoco", "str", "version of mujoco"),
    Column("dm_control", "str", "version of dm_control"),
    Column("torch", "str", "version of torch"),
    Column("python", "str", "version of Python"),
    Column("gl", "str", "OpenGL backend that drew the frames"),
    Column("device", "str", "device that the agent ran on"),
    Column("commit", "str", "git commit of shiftbench, `+` where the tree had changes, or empty"),
)
KINDS = {column.name: column.kind for column in COLUMNS}
KEY = ("agent", "task", "family", "level", "train_seed", "episode")
REQUIRED = tuple(column.name for column in COLUMNS if column.required)

#: Schema → what makes rows of that schema rows of the next one: a function of a data frame with the
#: columns of `COLUMNS`. Schema 1 is the first; a file that names none is read as the newest.
MIGRATIONS: dict[int, Callable[[pd.DataFrame], pd.DataFrame]] = {}
