"""What the driver's board tells of a job whose worker was lost."""

import pytest

from inranker.training.board import Board


def test_a_step_made_again_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    board = Board()
    for step in (1, 5, 9):
        assert not board.tell({"step": step})
    assert capsys.readouterr().err == ""
    board.exchange(True)
    assert board.tell({"step": 7})
    assert capsys.readouterr().err == "a worker was lost: training goes on from step 6 after step 9\n"
