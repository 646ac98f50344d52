"""Undoing what was written to a ring."""

import numpy as np
import pytest

from shiftbench.journal import Journal


def test_undone_whatever_was_written_in_whatever_order():
    arrays = {"a": np.arange(6), "b": np.arange(12.0).reshape(6, 2)}
    before = {name: array.copy() for name, array in arrays.items()}
    journal = Journal(arrays, held=6)

    def write(index, names, value):
        journal.keep(np.asarray(index), names)
        for name in names:
            arrays[name][index] = value

    write([[1, 2], [2, 4]], ["b"], -1)
    write(2, ["a", "b"], -2)
    write([2, 3], ["b"], -3)
    journal.undo()
    for name, array in arrays.items():
        assert (array == before[name]).all(), name
    # It can be used again.
    write(2, ["b"], -4)
    journal.commit(held=6)
    journal.undo()
    assert (arrays["b"][2] == -4).all()


def test_an_undo_that_is_interrupted_can_be_done_again():
    class Once(dict):
        struck = False

        def items(self):
            for item in super().items():
                yield item
                if not Once.struck:
                    Once.struck = True
                    raise KeyboardInterrupt

    arrays = {"a": np.arange(4), "b": np.arange(4.0)}
    journal = Journal(arrays, held=4)
    journal.keep(np.array([0, 1]), ["a", "b"])
    arrays["a"][:2] = arrays["b"][:2] = 9
    journal._pages = [(index, Once(values)) for index, values in journal._pages]
    with pytest.raises(KeyboardInterrupt):
        journal.undo()
    journal.undo()
    assert (arrays["a"] == np.arange(4)).all()
    assert (arrays["b"] == np.arange(4.0)).all()


def test_rows_that_belong_to_no_checkpoint_are_not_kept():
    arrays = {"a": np.arange(6)}
    journal = Journal(arrays, held=2)
    journal.keep(np.array([1, 2, 5]), ["a"])
    arrays["a"][:] = 9
    journal.undo()
    assert arrays["a"].tolist() == [9, 1, 9, 9, 9, 9]
