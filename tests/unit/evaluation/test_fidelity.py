"""Fidelity: hand-computed numbers, the best constant, agreement with the loss that is trained on."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from inranker.evaluation.fidelity import centre, fidelity, kendall_tau, mse, mse_constant, rank_flips
from inranker.losses.pointwise import mse as mse_loss
from inranker.losses.targets import Targets

TEACHER = np.array([[1.0, 3.0], [0.0, -2.0], [5.0, 5.0]], dtype=np.float32)
STUDENT = np.array([[-1.0, 2.0], [1.0, 0.0], [0.5, 0.5]], dtype=np.float32)
LOGITS = arrays(np.float32, (6, 2), elements=st.floats(-20, 20, width=32))


def test_mse_by_hand() -> None:
    # Centred teacher: (-1, 1), (1, -1), (0, 0).
    assert mse(STUDENT, TEACHER) == pytest.approx(((0 + 1) + (0 + 1) + (0.25 + 0.25)) / 3)
    assert mse(centre(TEACHER), TEACHER) == 0


def test_constant_by_hand() -> None:
    # Centred false logits -1, 1, 0 and true ones 1, -1, 0: variance 2/3 each.
    assert mse_constant(TEACHER) == pytest.approx(4 / 3)


@given(teacher=LOGITS, constant=arrays(np.float32, (2,), elements=st.floats(-20, 20, width=32)))
def test_no_constant_is_better(teacher: np.ndarray, constant: np.ndarray) -> None:
    assert mse(np.tile(constant, (6, 1)), teacher) >= mse_constant(teacher) - 1e-5
    assert mse(np.tile(centre(teacher).mean(axis=0), (6, 1)), teacher) == pytest.approx(mse_constant(teacher), abs=1e-9)


@given(teacher=LOGITS, student=LOGITS)
def test_mse_is_the_training_loss(teacher: np.ndarray, student: np.ndarray) -> None:
    loss = mse_loss(torch.tensor(student), Targets(teacher_logits_B2=torch.tensor(teacher)))
    assert mse(student, teacher) == pytest.approx(loss.item(), rel=1e-4, abs=1e-4)


def test_kendall_tau_by_hand() -> None:
    query_ids = ["q1"] * 4 + ["q2"] * 3
    teacher = np.array([4, 3, 2, 1, 3, 2, 1], dtype=np.float32)
    student = np.array([4, 3, 1, 2, 1, 2, 3], dtype=np.float32)  # one of six pairs turned; all of three
    assert kendall_tau(query_ids, student, teacher) == pytest.approx(((5 - 1) / 6 + -1) / 2)
    assert rank_flips(query_ids, student, teacher) == pytest.approx((1 + 3) / (6 + 3))


def test_ties_and_single_passages() -> None:
    # q1: the teacher has no preference, left out. q2: only the student has none, 0. q3: one passage, left out.
    query_ids = ["q1", "q1", "q2", "q2", "q3"]
    teacher = np.array([1, 1, 1, 2, 5], dtype=np.float32)
    student = np.array([1, 2, 0, 0, 5], dtype=np.float32)
    assert kendall_tau(query_ids, student, teacher) == 0
    assert rank_flips(query_ids, student, teacher) == 0
    assert np.isnan(kendall_tau(["q1", "q1"], student[:2], teacher[:2]))
    assert np.isnan(rank_flips(["q1", "q1"], student[:2], teacher[:2]))


def test_tau_b_corrects_for_the_students_ties() -> None:
    teacher = np.array([3, 2, 1], dtype=np.float32)
    student = np.array([1, 1, 0], dtype=np.float32)  # two pairs right, one tied: 2 / sqrt(3 * 2)
    assert kendall_tau(["q"] * 3, student, teacher) == pytest.approx(2 / np.sqrt(6))


@given(teacher=LOGITS)
def test_a_student_that_copies_its_teacher(teacher: np.ndarray) -> None:
    scores = teacher[:, 1] - teacher[:, 0]
    figures = fidelity(["q1", "q1", "q1", "q2", "q2", "q2"], teacher, scores, centre(teacher), scores, teacher)
    assert figures["mse"] == 0
    assert figures["mse_before"] == pytest.approx(2 * np.square(teacher.astype(float).mean(axis=1)).mean(), abs=1e-6)
    assert figures.get("rank_flips", 0) == 0
    assert figures.get("kendall_tau", 1) == pytest.approx(1)
    assert all(np.isfinite(list(figures.values())))
