"""When the next request to an endpoint may start: its limits per minute, and the pauses that it asks for."""

import asyncio
import email.utils
import random
import time
from collections.abc import Mapping

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0
MOST_ASKED_SECONDS = 600.0  # an endpoint that asks for a longer rest gets this much


class Pace:
    """Evenly spaced starts: no burst at the beginning of a minute that the rest of it would pay for.

    Args:
        requests_per_minute: starts of requests; None: as many as there are.
        tokens_per_minute: tokens of prompts and answers; None: as many as there are.
    """

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        self.requests, self.tokens = requests_per_minute, tokens_per_minute
        self.free_at = 0.0  # when the requests and tokens started so far are used up
        self.paused_until = 0.0

    async def turn(self, tokens: float) -> None:
        """Wait until a request of so many tokens may start."""
        while True:
            now = time.monotonic()
            wait = max(self.free_at, self.paused_until) - now
            if wait <= 0:
                break
            await asyncio.sleep(wait)
        # No await since the clock was read, so no other request has taken this turn.
        needed = [60 / self.requests] if self.requests else []
        needed += [60 * tokens / self.tokens] if self.tokens else []
        self.free_at = max(now, self.free_at) + max(needed, default=0.0)

    def correct(self, tokens: float) -> None:
        """Take account of tokens that a request used more (or, below zero, less) than it was started with."""
        if self.tokens:
            self.free_at += 60 * tokens / self.tokens

    def pause(self, seconds: float) -> None:
        """Start no request for so long: one that was told to slow down speaks for all."""
        self.paused_until = max(self.paused_until, time.monotonic() + seconds)


def backoff(attempt: int) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 0): doubled each time, with jitter."""
    pause = min(FIRST_PAUSE_SECONDS * 2.0**attempt, LONGEST_PAUSE_SECONDS)
    # Requests that failed together would come back together.
    return pause * random.uniform(0.5, 1.0)


def asked_pause(headers: Mapping[str, str]) -> float:
    """Seconds of rest that an answer asks for (RFC 9110, section 10.2.3: seconds or a date); 0 where it does not."""
    try:
        if milliseconds := headers.get("retry-after-ms"):
            seconds = float(milliseconds) / 1000
        elif not (told := headers.get("retry-after", "").strip()):
            seconds = 0.0
        elif told.replace(".", "", 1).isdigit():
            seconds = float(told)
        else:
            seconds = email.utils.parsedate_to_datetime(told).timestamp() - time.time()
    except (ValueError, TypeError):  # a date that is none
        return 0.0
    return min(max(seconds, 0.0), MOST_ASKED_SECONDS)
