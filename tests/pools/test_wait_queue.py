"""WaitQueue against a model: urgency, then order of arrival; who is expendable; leaving from anywhere."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from lbd.engine.waitqueue import Queued, WaitQueue

STEPS = st.lists(st.tuples(st.sampled_from(["join", "leave", "serve", "push"]), st.integers(0, 30)))


def waiting(urgency: int) -> Queued:
    made = Queued()
    made.urgency = urgency
    return made


@given(STEPS)
def test_model(steps: list[tuple[str, int]]) -> None:
    queue, model = WaitQueue(), list[Queued]()
    for step, number in steps:
        if step == "join":
            model.append(waiting(number % 3))
            queue.join(model[-1])
        elif step == "leave" and model:
            queue.leave(model.pop(number % len(model)))
        elif step == "serve" and model:
            first = min(model, key=lambda one: one.urgency)  # min takes the earliest of equals
            assert queue.first() is first
            queue.leave(first)
            model.remove(first)
        elif step == "push":
            urgency = number % 3
            out = max(reversed(model), key=lambda one: one.urgency, default=None)
            expected = out if out is not None and out.urgency > urgency else None
            assert queue.expendable(urgency) is expected
        assert queue.length == len(model) and all(one.queued for one in model)
    assert queue.first() is min(model, key=lambda one: one.urgency, default=None)


def test_joining_and_leaving_twice_changes_nothing() -> None:
    queue, one, other = WaitQueue(), waiting(1), waiting(1)
    queue.join(one)
    queue.join(other)
    queue.join(one)
    assert (queue.length, queue.first()) == (2, one)
    queue.leave(one)
    queue.leave(one)
    assert (queue.length, queue.first(), one.queued) == (1, other, False)


def test_the_queue_holds_its_members_and_lets_go_of_them() -> None:
    queue, one = WaitQueue(), waiting(2)
    before = sys.getrefcount(one)
    queue.join(one)
    assert sys.getrefcount(one) == before + 1
    queue.leave(one)
    assert sys.getrefcount(one) == before
    queue.join(one)
    del queue
    assert sys.getrefcount(one) == before and not one.queued
