"""Named points of the commit protocol at which a test may end the process, to show that dying there loses nothing.

A point does nothing unless INRANKER_CRASH_FILE names a file that holds the point's name; then it fires once, as
SIGKILL does: no handler, no clean-up. Tests of other people's extensions can use them too.
"""

import os
import signal
from pathlib import Path

CRASH_FILE = "INRANKER_CRASH_FILE"

# In the order in which a job meets them. A point that is not listed here is an error, so the list stays whole.
CRASH_POINTS = (
    "after-identity",
    "before-read",
    "after-tokenise",
    "before-score",
    "after-score",
    "before-data",
    "after-data",
    "after-receipt",
    "during-audit",
    "before-manifest",
    "after-manifest",
)


def crash_point(name: str) -> None:
    """End this process here if a test asked for it; the first process to arrive takes the request with it.

    Raises:
        ValueError: the name is not one of `CRASH_POINTS`.
    """
    if name not in CRASH_POINTS:
        raise ValueError(f"crash point {name!r} is not listed")
    file = os.environ.get(CRASH_FILE)
    if not file:
        return
    try:
        if Path(file).read_text().strip() != name:
            return
        os.rename(file, f"{file}.fired")  # atomic: of several processes here, one gets it
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
