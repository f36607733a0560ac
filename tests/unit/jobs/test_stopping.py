"""SIGTERM ends a job at once, with what stands said."""

import signal
import threading
import time

import pytest

from inranker.jobs.stopping import STOPPED_BY_SIGNAL, stoppable


def test_sigterm_ends_the_job_and_says_what_stands(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, stoppable(lambda: "3 of 8 units are done"):
        signal.raise_signal(signal.SIGTERM)
        time.sleep(10)
        pytest.fail("the job went on")
    assert ended.value.code == STOPPED_BY_SIGNAL
    assert capsys.readouterr().err == "stopped: 3 of 8 units are done; the same command goes on from there\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_undisturbed_job_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stoppable(lambda: "all"):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert capsys.readouterr().err == "" and signal.getsignal(signal.SIGTERM) is before


def test_a_job_in_another_thread_runs_without_a_handler() -> None:
    done: list[int] = []

    def job() -> None:
        with stoppable(lambda: ""):
            done.append(1)

    thread = threading.Thread(target=job)
    thread.start()
    thread.join()
    assert done == [1]
