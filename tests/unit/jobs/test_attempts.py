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


def test_starts_on_nodes_that_have_died_do_not_count() -> None:
    living = {"head", "one"}
    attempts = UnitAttempts(2, "pairs", lambda: living)
    for node in ("lost", "one", "lost too", "head"):
        attempts.begin("a", "scoring", node)
    with pytest.raises(UserError, match="ended its process 2 times"):
        attempts.begin("a", "scoring", "one")


def test_a_unit_that_starts_again_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    attempts = UnitAttempts(limit=2)
    attempts.begin("a", "scoring")
    assert capsys.readouterr().err == ""
    attempts.begin("a", "scoring")
    assert capsys.readouterr().err == "unit a is started again in scoring: start 2\n"
