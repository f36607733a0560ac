"""Several units in one process's hands at a time: who may begin, and whose time it was."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Lock


class UnitTurns:
    """Lets units begin beside each other, but one that has been started before only by itself.

    A process that dies takes all units in its hands with it. Started again alone, a unit that kills its process is the
    only one that is counted, so that the job ends by its name and not by that of a neighbour.

    Args:
        begin: told a unit's name; returns how often it has been started, this time included.
    """

    def __init__(self, begin: Callable[[str], int]) -> None:
        self.begin = begin
        self.entrance = Lock()  # a unit that waits here has not begun
        self.change = Condition()
        self.in_hand = 0
        self.alone = False
        self.last_end = 0.0

    @contextmanager
    def of(self, unit_name: str) -> Iterator["UnitTime"]:
        """A unit's work: `with turns.of(name) as spent: …`.

        Yields:
            The seconds of it, once it is over.

        Raises:
            UserError: the unit has been started as often as it may.
        """
        with self.entrance:
            self._wait(lambda: not self.alone)
            alone = self.begin(unit_name) > 1
            if alone:
                self._wait(lambda: self.in_hand == 0)
            with self.change:
                self.in_hand += 1
                self.alone = alone
        spent = UnitTime(time.perf_counter())
        try:
            yield spent
        finally:
            with self.change:
                now = time.perf_counter()
                spent.seconds = now - max(spent.started, self.last_end)
                self.last_end = now
                self.in_hand -= 1
                self.alone = False
                self.change.notify_all()

    def _wait(self, until: Callable[[], bool]) -> None:
        with self.change:
            self.change.wait_for(until)


class UnitTime:
    """When a unit began, and the seconds that are its own: those in which an earlier one was still in hand are that
    one's, so that the seconds of all add up to what the process spent."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.seconds = 0.0
