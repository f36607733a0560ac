"""Whether a store keeps the promise that commits rest on: of many creators of one object, one wins.

Some S3 look-alikes ignore `If-None-Match`, and some filesystems check and then write. On those two workers could both
commit a unit, or two jobs own one output, so they are found out before the first unit.
"""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

from inranker.errors import UserError
from inranker.storage import Store

RACERS = 8
ROUNDS = 2


def require_exclusive_create(store: Store) -> None:
    """Let eight creators race for a fresh object, and one come late; leaves nothing behind.

    Raises:
        UserError: more than one won, none did, or the object is not the winner's.
    """
    for _ in range(ROUNDS):
        name = f"probe-{uuid.uuid4().hex}"
        try:
            winners = _race(store, name)
            stored = store.read(name)
        finally:
            store.delete(name)
        if len(winners) != 1:
            raise UserError(
                f"{store.url} let {len(winners)} of {RACERS + 1} creators of one object win, so a unit could be "
                "committed twice; use a store that creates objects exclusively (S3 that honours If-None-Match, a "
                "local or shared disk with hard links)"
            )
        if stored != winners[0]:
            raise UserError(
                f"{store.url} holds another creator's object than the one it said had won; use a store that creates "
                "objects exclusively (S3 that honours If-None-Match, a local or shared disk with hard links)"
            )


def _race(store: Store, name: str) -> list[bytes]:
    """What the creators that won had to write."""
    start = threading.Barrier(RACERS)

    def create(number: int) -> bytes | None:
        data = f"creator {number} of {name}".encode()
        start.wait()
        return data if store.put_if_absent(name, data) else None

    with ThreadPoolExecutor(RACERS) as pool:
        results = list(pool.map(create, range(RACERS)))
    late = f"late creator of {name}".encode()
    results.append(late if store.put_if_absent(name, late) else None)
    return [data for data in results if data is not None]
