import pytest

from shiftbench.errors import ShiftBenchError
from shiftbench.registry import Registry


def test_lazy_import_and_suggestion():
    registry = Registry("thing", {"path": "pathlib:Path", "broken": "no_such_module:x"})
    assert registry.get("path").__name__ == "Path"
    with pytest.raises(ShiftBenchError, match="Did you mean 'path'"):
        registry.get("pathh")
    with pytest.raises(ShiftBenchError, match="'broken'.*cannot be imported"):
        registry.get("broken")


def test_duplicate_names_both_sides():
    registry = Registry("thing", {"path": "pathlib:Path"})
    registry.register("other", object())
    with pytest.raises(ShiftBenchError, match=r"'path' is registered twice.*pathlib:Path"):
        registry.register("path", object())
