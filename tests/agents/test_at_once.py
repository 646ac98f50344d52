"""The two halves of an update that need nothing of each other."""

import threading

import pytest
import torch
from learner import filled, learn, learner

from shiftbench.agents import resolve
from shiftbench.agents.at_once import at_once


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


@pytest.mark.parametrize(
    ("name", "options"),
    [("scratch", {}), ("pvm-partial", {}), ("scratch", {"precision": "bfloat16"})],
)
def test_updates_on_two_threads_are_those_of_one(threads, cartpole, tmp_path, name, options):
    def updates(count, folder):
        threads(count)
        agent = learner(resolve(name, **options), cartpole)
        losses = learn(agent, filled(agent, tmp_path / folder), 3)
        return losses, agent.training_state()

    losses, state = updates(2, "a")
    again, same = updates(2, "b")
    assert losses == again
    assert all(torch.equal(tensor, same[key]) for key, tensor in state.items())
    one, _ = updates(1, "c")
    within = {"rel": 0.02, "abs": 0.05} if options else {"rel": 1e-3, "abs": 1e-5}
    assert losses == pytest.approx(one, **within)
