"""From measurements to verdicts: which cells hold what the levels promise. Pure, no drawing.

- *graded*: the distance from the clean frame grows strictly with the level, in every measure.
- *comparable*: at one level the families' distances lie within a factor of two of each other.
- *solvable*: the positions can still be read from the frames.
- *harmless*: states, rewards and lengths are those of the clean arm, and nothing stays behind.
- *seeded*: a seed gives the same bytes everywhere, another seed gives others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct

#: Measure of distance → what it is called.
MEASURES = {"ssim": "√(1 − SSIM)", "features": "random features"}

#: Largest ratio between the distances of two families at one level.
FACTOR = 2.0

#: Family → measures in which it need not be comparable: `combined` is the sum of others, and SSIM
#: compares pixels in place, which a moved camera leaves nowhere in place.
EXCEPTED = {"combined": ("ssim", "features"), "camera": ("ssim",)}

#: Least share of the R² from clean frames that a cell must keep.
KEPT = 0.8

#: The checks in the order in which tables show them.
CHECKS = ("graded", "comparable", "solvable", "harmless", "seeded")


class Cell(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was measured of one task under one shift.

    Attributes:
        states: count of states that were compared.
        ssim, features: median distance from the clean frame, see `distances`.
        r2, r2_clean: mean R² over the positions, from this cell's frames by the reader of all
            shifts, and from clean frames by the reader of clean frames; None where not asked for.
        worst, worst_r2: the position that is read worst, and its R².
        harm: what changed besides pixels; empty where nothing did.
        unseeded: how the frames fail to follow the seed; empty where they do follow it.
    """

    task: str
    task_version: int
    family: str
    level: str
    severity: float
    states: int
    ssim: float
    features: float
    r2: float | None
    r2_clean: float | None
    worst: str
    worst_r2: float | None
    harm: str
    unseeded: str
    network: str
    shift_hash: str
    versions: dict[str, str]


class Fault(Struct, frozen=True):
    """What is wrong with a cell.

    Attributes:
        check: one of `CHECKS`.
        text: what is wrong, with numbers.
        measure: the number of the cell that it is about; empty where it is about none.
    """

    check: str
    text: str
    measure: str = ""

    def __str__(self) -> str:
        return f"{self.check}: {self.text}"


class Verdict(Struct, frozen=True):
    """A cell, the checks that were made of it, and what is wrong with it.

    A check is not made where the family is excepted from it, or without readers.
    """

    cell: Cell
    checks: tuple[str, ...]
    faults: tuple[Fault, ...]

    @property
    def passed(self) -> bool:
        return not self.faults

    def failed(self, check: str) -> bool:
        return any(fault.check == check for fault in self.faults)


def judge(cells: Sequence[Cell]) -> list[Verdict]:
    """Return the verdict on each cell, in the order of the cells."""
    found: list[list[Fault]] = [[] for _ in cells]
    for task in dict.fromkeys(cell.task for cell in cells):
        here = [i for i, cell in enumerate(cells) if cell.task == task]
        for measure in MEASURES:
            for group in _groups(here, lambda i: cells[i].family):
                for i, text in _ungraded(cells, group, measure):
                    found[i].append(Fault("graded", text, measure))
        for measure in MEASURES:
            for group in _groups(here, lambda i: cells[i].level):
                for i, text in _incomparable(cells, group, measure):
                    found[i].append(Fault("comparable", text, measure))
    for cell, faults in zip(cells, found, strict=True):
        if cell.r2 is not None and not cell.r2 >= KEPT * cell.r2_clean > 0:
            text = (
                f"R² {cell.r2:.2f} of the positions, clean {cell.r2_clean:.2f}, "
                f"worst {cell.worst} {cell.worst_r2:.2f}"
            )
            faults.append(Fault("solvable", text, "r2"))
        if cell.harm:
            faults.append(Fault("harmless", cell.harm))
        if cell.unseeded:
            faults.append(Fault("seeded", cell.unseeded))
    return [
        Verdict(cell, _made(cell), tuple(faults)) for cell, faults in zip(cells, found, strict=True)
    ]


def _made(cell: Cell) -> tuple[str, ...]:
    """Return the checks that are made of a cell."""
    left_out = set() if cell.r2 is not None else {"solvable"}
    if not any(compared(cell.family, measure) for measure in MEASURES):
        left_out.add("comparable")
    return tuple(check for check in CHECKS if check not in left_out)


def window(distances: Iterable[float]) -> tuple[float, float]:
    """Return the ends of the largest group of distances within `FACTOR` of each other.

    Of equally large groups it is the tightest, so that what lies outside is what stands out.
    """
    ordered = sorted(distances)
    groups = [[d for d in ordered if low <= d <= FACTOR * low] for low in ordered]
    best = max(groups, key=lambda group: (len(group), -group[-1] / max(group[0], 1e-12)))
    return best[0], best[-1]


def compared(family: str, measure: str) -> bool:
    """Return whether a family takes part in the check *comparable* in a measure."""
    return measure not in EXCEPTED.get(family, ())


def _groups(indices: Sequence[int], key: Callable[[int], str]) -> list[list[int]]:
    found: dict[str, list[int]] = {}
    for i in indices:
        found.setdefault(key(i), []).append(i)
    return list(found.values())


def _ungraded(
    cells: Sequence[Cell], group: Sequence[int], measure: str
) -> Iterator[tuple[int, str]]:
    """Yield the cells of a family that are no further away than every level before."""
    before, name = 0.0, "the clean frame"
    for i in sorted(group, key=lambda i: cells[i].severity):
        distance = getattr(cells[i], measure)
        if not distance > before:
            yield i, f"{MEASURES[measure]} {distance:.3f} is not above {name} ({before:.3f})"
        else:
            before, name = distance, cells[i].level


def _incomparable(
    cells: Sequence[Cell], group: Sequence[int], measure: str
) -> Iterator[tuple[int, str]]:
    """Yield the cells of a level that are too far from where most families are."""
    group = [i for i in group if compared(cells[i].family, measure)]
    if not group:
        return
    low, high = window(getattr(cells[i], measure) for i in group)
    for i in group:
        distance = getattr(cells[i], measure)
        if not low <= distance <= high:
            yield (
                i,
                (
                    f"{MEASURES[measure]} {distance:.3f} is not within a factor of {FACTOR:g} of "
                    f"{low:.3f} to {high:.3f}"
                ),
            )
