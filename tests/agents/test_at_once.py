"""The two halves of an update that need nothing of each other."""

import threading

import pytest
import torch
from learner import filled, learn, learner

from shiftbench.agents import resolve
from shiftbench.agents.at_once import at_once


@pytest.fixture
def threads():
    """Set torch's threads for a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_both_are_done_at_once_with_half_of_the_threads_each(threads):
    threads(4)
    both, seen = threading.Barrier(2), []

    def half():
        both.wait(timeout=30)  # broken unless the other one is under way
        seen.append(torch.get_num_threads())
        return threading.current_thread()

    assert at_once(half, half) is not threading.current_thread()
    assert seen == [2, 2]
    assert torch.get_num_threads() == 4


def test_one_thread_does_them_in_turn(threads):
    threads(1)
    done = []
    assert at_once(lambda: done.append("first"), lambda: [*done, "second"]) == ["first", "second"]


@pytest.mark.parametrize("failing", ["first", "second"])
def test_what_fails_is_raised_when_both_are_over(threads, failing):
    threads(2)
    done = []

    def half(name):
        if name == failing:
            raise ValueError(name)
        done.append(name)

    with pytest.raises(ValueError, match=failing):
        at_once(lambda: half("first"), lambda: half("second"))
    assert len(done) == 1
    assert torch.get_num_threads() == 2


def test_updates_with_more_threads_are_the_same_every_time(threads, cartpole, tmp_path):
    def updates(count, name):
        threads(count)
        agent = learner(resolve("scratch"), cartpole)
        losses = learn(agent, filled(agent, tmp_path / name), 3)
        return losses, agent.training_state()

    losses, state = updates(2, "a")
    again, same = updates(2, "b")
    assert losses == again
    assert all(torch.equal(tensor, same[name]) for name, tensor in state.items())
    one, _ = updates(1, "c")
    assert losses == pytest.approx(one, rel=1e-3, abs=1e-5)
