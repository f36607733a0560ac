"""How far a student follows its teacher on pairs that it was trained on, and what is said where it hardly does."""

import numpy as np
import pytest

from inranker.training.agreement import FOLLOWS, correlation, hardly_learnt


def sample(student_N: np.ndarray, teacher_N: np.ndarray | None) -> dict[str, object]:
    """Margins as pairs of logits, each with an offset of its own, which no margin depends on."""

    def logits(margin_N: np.ndarray) -> list[list[float]]:
        return [[index - margin / 2, index + margin / 2] for index, margin in enumerate(margin_N.tolist())]

    return {"student": logits(student_N), "teacher": None if teacher_N is None else logits(teacher_N), "positive": []}


def test_the_correlation_is_that_of_the_margins() -> None:
    rng = np.random.default_rng(0)
    teacher_N = rng.normal(size=50)
    student_N = 0.4 * teacher_N + rng.normal(size=50)
    expected = np.corrcoef(student_N, teacher_N)[0, 1]
    assert correlation(sample(student_N, teacher_N)) == pytest.approx(expected, abs=1e-9)
    assert correlation(sample(3 * teacher_N - 2, teacher_N)) == pytest.approx(1)


def test_a_student_with_one_answer_for_all_pairs_has_none() -> None:
    assert correlation(sample(np.zeros(9), np.arange(9.0))) == 0


def test_nothing_to_follow_is_no_correlation() -> None:
    assert correlation(sample(np.arange(9.0), None)) is None
    assert correlation(sample(np.arange(9.0), np.zeros(9))) is None
    assert correlation(sample(np.arange(1.0), np.arange(1.0))) is None


def test_a_student_that_hardly_follows_is_told_what_to_change() -> None:
    said = hardly_learnt(0.233)
    assert said and "0.23" in said and "steps" in said and "encoder_layers" in said
    assert hardly_learnt(-0.9) and hardly_learnt(FOLLOWS - 0.01)
    assert hardly_learnt(FOLLOWS) is None and hardly_learnt(None) is None
