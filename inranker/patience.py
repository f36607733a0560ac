"""Retries for object storage: a store that is down for half a minute must not cost a weekend's job."""

import asyncio
import errno
import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 8.0
# What asking again will not change: the answer is about the object, the caller or the request.
FINAL_ERRORS = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
FINAL_NUMBERS = {errno.EINVAL, errno.ENOSYS, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG}
# s3fs gives these the number of an invalid request, but it was damaged on its way; the next will not be.
DAMAGED_REQUESTS = {"BadDigest", "IncompleteBody"}


def is_transient(error: BaseException) -> bool:
    """Whether asking again may help: dropped connections, time-outs, 409, 429 and 5xx answers."""
    if isinstance(error, FINAL_ERRORS):
        return False
    if isinstance(error, TimeoutError | asyncio.TimeoutError | ConnectionError):
        return True
    if isinstance(error, OSError):
        return error.errno not in FINAL_NUMBERS or _s3_code(error) in DAMAGED_REQUESTS
    # botocore and aiohttp have exceptions of their own for a server that cannot be reached or stops in mid-answer.
    origins = {base.__module__.partition(".")[0] for base in type(error).__mro__}
    return (
        bool(origins & {"botocore", "aiobotocore", "aiohttp", "urllib3"}) and "Credential" not in type(error).__name__
    )


def _s3_code(error: BaseException) -> str | None:
    """The code of the S3 answer that an error was made from."""
    answer = getattr(error.__cause__, "response", None) or {}
    code: str | None = answer.get("Error", {}).get("Code")
    return code


def patiently(operation: Callable[[], Result], what: str, seconds: float = PATIENCE_SECONDS) -> Result:
    """Do a storage operation, again with growing pauses while it fails in a way that may pass.

    Args:
        operation: what to do; must be safe to repeat.
        what: what it is, for the log.
        seconds: how long to keep trying.

    Raises:
        Exception: the operation's own, when it is final or patience is over.
    """
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return operation()
        except Exception as error:
            if not is_transient(error) or time.monotonic() + pause > deadline:
                raise
            log.warning("%s: %s; trying again in %.1f s", what, type(error).__name__, pause)
        # Jitter: workers that failed together would come back together.
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
