"""Who may have a unit in hand beside another."""

import threading
import time

import pytest

from inranker.errors import UserError
from inranker.jobs.turns import UnitTurns

PATIENCE = 30.0


class Holder:
    """A thread that has a unit in hand until it is told to end."""

    def __init__(self, turns: UnitTurns, unit: str) -> None:
        self.inside, self.leave = threading.Event(), threading.Event()
        self.seconds = 0.0
        self.thread = threading.Thread(target=self._hold, args=(turns, unit))
        self.thread.start()

    def _hold(self, turns: UnitTurns, unit: str) -> None:
        with turns.of(unit) as spent:
            self.inside.set()
            assert self.leave.wait(PATIENCE)
        self.seconds = spent.seconds

    def end(self) -> None:
        self.leave.set()
        self.thread.join(PATIENCE)


def starts(counts: dict[str, int]):
    return lambda unit: counts.get(unit, 1)


def test_new_units_are_in_hand_together():
    turns = UnitTurns(starts({}))
    one, other = Holder(turns, "one"), Holder(turns, "other")
    assert one.inside.wait(PATIENCE) and other.inside.wait(PATIENCE)
    one.end()
    other.end()


def test_a_unit_that_was_started_before_is_alone():
    begun = []

    def begin(unit: str) -> int:
        begun.append(unit)
        return 2 if unit == "again" else 1

    turns = UnitTurns(begin)
    first = Holder(turns, "first")
    assert first.inside.wait(PATIENCE)
    again = Holder(turns, "again")
    assert not again.inside.wait(0.2)
    first.end()
    assert again.inside.wait(PATIENCE)
    later = Holder(turns, "later")
    assert not later.inside.wait(0.2)
    assert begun == ["first", "again"]  # a unit that waits has not begun: a death now would not count against it
    again.end()
    assert later.inside.wait(PATIENCE)
    later.end()


def test_the_seconds_of_all_units_are_those_of_the_process():
    turns = UnitTurns(starts({}))
    began = time.perf_counter()
    one = Holder(turns, "one")
    assert one.inside.wait(PATIENCE)
    other = Holder(turns, "other")
    assert other.inside.wait(PATIENCE)
    time.sleep(0.1)
    one.end()
    time.sleep(0.05)
    other.end()
    whole = time.perf_counter() - began
    assert one.seconds >= 0.1 and other.seconds >= 0.05
    assert one.seconds + other.seconds <= whole


def test_a_unit_that_may_not_begin_leaves_the_way_free():
    def begin(unit: str) -> int:
        if unit == "poison":
            raise UserError("started too often")
        return 1

    turns = UnitTurns(begin)
    with pytest.raises(UserError), turns.of("poison"):
        pass
    with turns.of("next"):
        pass
    assert turns.in_hand == 0


def test_work_that_fails_gives_its_turn_back():
    turns = UnitTurns(starts({"again": 2}))
    with pytest.raises(RuntimeError), turns.of("again"):
        raise RuntimeError("broken")
    with turns.of("next") as spent:
        pass
    assert turns.in_hand == 0
    assert spent.seconds >= 0
