"""A unit that ends its process again and again is stopped."""

import pytest

from inranker.errors import UserError
from inranker.jobs.attempts import UnitAttempts


def test_a_unit_that_starts_too_often_ends_the_job_by_name() -> None:
    attempts = UnitAttempts(limit=2)
    attempts.begin("a", "scoring")
    attempts.begin("b", "scoring")
    attempts.begin("a", "tokenising")
    attempts.begin("a", "scoring")
    with pytest.raises(UserError, match="unit a ended its process 2 times in scoring"):
        attempts.begin("a", "scoring")
