"""Something made once per node and used by all of its processes, as the tokenised pairs are."""

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

POLL_SECONDS = 0.2


def default_cache() -> Path:
    """Where a node keeps what it made, unless told otherwise: per user, under the system's temporary directory."""
    return Path(tempfile.gettempdir()) / f"inranker-training-{os.getuid()}"


def make_once(place: Path, make: Callable[[Path], None], maker: bool) -> Path:
    """The directory `place`, made by one process of the node and awaited by the others.

    It appears by renaming a finished directory, so a maker that dies leaves nothing that looks done, and two makers
    (two jobs on one node) do no harm.

    Args:
        place: the directory; its name must say everything its content depends on.
        make: fills the directory it is given.
        maker: whether this process makes it where it is missing.
    """
    while not maker and not place.exists():
        time.sleep(POLL_SECONDS)
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    draft.mkdir()
    try:
        make(draft)
        os.rename(draft, place)
    except OSError:
        if not place.exists():  # else another maker was first, and its copy is as good
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return place
