"""What a job may spend on an endpoint: reserved before a unit starts, settled when it has ended.

Reserving the most that a unit can cost keeps the limit a promise, whichever actors ask at the same time; what was not
needed comes back when the unit is settled.
"""

from collections.abc import Callable
from typing import Any, Protocol


class Purse(Protocol):
    """Where an engine asks for money: a `Budget` here, or the one of the job elsewhere."""

    def reserve(self, amount: float) -> bool:
        """Set an amount aside; False, and nothing set aside, where it would pass the limit."""
        ...

    def settle(self, reserved: float, spent: float) -> None:
        """Give a reservation back and note what was spent of it."""
        ...


class Budget:
    """A limit and what has been spent of it, in the currency of the prices.

    Args:
        limit: the most to spend; None: no limit.
        spent: what earlier starts of the job have spent.
    """

    def __init__(self, limit: float | None, spent: float = 0.0) -> None:
        self.limit, self.spent, self.reserved = limit, spent, 0.0

    def reserve(self, amount: float) -> bool:
        """As Purse.reserve."""
        if self.limit is not None and self.spent + self.reserved + amount > self.limit:
            return False
        self.reserved += amount
        return True

    def settle(self, reserved: float, spent: float) -> None:
        """As Purse.settle."""
        self.reserved -= reserved
        self.spent += spent


class RemoteBudget:
    """The budget of a job in an actor of its own, shared by all engines.

    Args:
        actor: handle of an actor made of `Budget`.
        get: waits for a result, such as `ray.get`; handed in, so that engines run without Ray.
    """

    def __init__(self, actor: Any, get: Callable[[Any], Any]) -> None:
        self.actor, self.get = actor, get

    def reserve(self, amount: float) -> bool:
        """As Purse.reserve."""
        return bool(self.get(self.actor.reserve.remote(amount)))

    def settle(self, reserved: float, spent: float) -> None:
        """As Purse.settle; waits, so that nothing is spent that the budget does not know."""
        self.get(self.actor.settle.remote(reserved, spent))
