"""Reports in a real browser: they fit a phone, ask for nothing, complain of nothing, and run nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from inranker.evaluation.averages import average
from inranker.evaluation.config import EvaluateConfig
from inranker.labeling.config import LabelConfig
from inranker.report.evaluate import report as evaluate_report
from inranker.report.label import report as label_report
from inranker.report.mine import report as mine_report
from inranker.report.synthesize import report as synthesize_report
from inranker.report.train import report as train_report
from tests.browser import NAMES, Browser, find_browser
from tests.unit.report.pages import ATTACK

# What is wider than the window, apart from what scrolls in a box of its own.
WIDER = """[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, svg') &&
  e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.tagName + '.' + e.className)"""
TOO_SMALL = """[...document.querySelectorAll('svg text')].filter(e => e.getBoundingClientRect().height < 9)
  .map(e => e.textContent)"""
# Words of a chart that run out of its picture.
CLIPPED = """[...document.querySelectorAll('svg text')].filter(e => { const t = e.getBoundingClientRect(),
  s = e.closest('svg').getBoundingClientRect(); return t.left < s.left - 1 || t.right > s.right + 1 })
  .map(e => e.textContent)"""
BACKGROUND = "getComputedStyle(document.body).backgroundColor"

REPORTS = {
    "labelled": label_report,
    "mined": mine_report,
    "charted": train_report,
    "synthesized": synthesize_report,
    "evaluated": evaluate_report,
    "averaged": average,
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find_browser()
    if path is None:
        pytest.skip(f"no browser on PATH (looked for {', '.join(NAMES)}); Debian: apt-get install chromium")
    with Browser(path) as running:
        yield running


@pytest.mark.parametrize(("width", "height"), [(360, 800), (1280, 900)])
@pytest.mark.parametrize("job", REPORTS)
def test_a_report_reads_well(
    browser: Browser, job: str, width: int, height: int, request: pytest.FixtureRequest
) -> None:
    page = Path(REPORTS[job](request.getfixturevalue(job))["report"])
    tab = browser.open(page, width, height)
    assert tab.value("innerWidth") == width
    assert tab.value("document.documentElement.scrollWidth") <= width
    assert tab.value(WIDER) == [] and tab.value(TOO_SMALL) == [] and tab.value(CLIPPED) == []
    assert tab.problems() == []
    assert tab.requests() == [page.resolve().as_uri()]
    assert tab.value("document.querySelectorAll('svg[role=img] rect, svg[role=img] polyline').length") >= 3


def test_a_passage_that_attacks_is_text(browser: Browser, labelled: LabelConfig) -> None:
    tab = browser.open(Path(label_report(labelled)["report"]), 360, 800)
    assert tab.value("document.title") == "Label job"
    assert tab.value("document.querySelectorAll('script, img').length") == 0
    assert ATTACK.split("<img")[0] in tab.value("document.body.textContent")


def test_an_evaluations_texts_are_text_and_the_papers_points_are_marked(
    browser: Browser, evaluated: EvaluateConfig
) -> None:
    tab = browser.open(Path(evaluate_report(evaluated)["report"]), 390, 844)
    assert tab.value("document.documentElement.scrollWidth") <= 390
    assert tab.value("document.title") == "Evaluation"
    assert tab.value("document.querySelectorAll('script, img, b').length") == 0
    shown = tab.value("document.body.textContent")
    assert ATTACK.split("<img")[0] in shown and "teacher<b>" in shown and "inranker-220m (paper)" in shown
    rings = tab.value("[...document.querySelectorAll('svg circle.theirs')].map(c => getComputedStyle(c).fill)")
    assert len(rings) == 7 and set(rings) == {"none"}


def test_the_policy_stops_a_script_that_escaping_would_have_missed(
    browser: Browser, labelled: LabelConfig, tmp_path: Path
) -> None:
    """The second wall, tried by itself: the same page with live markup in it."""
    pierced = tmp_path / "pierced.html"
    pierced.write_text(Path(label_report(labelled)["report"]).read_text().replace("<footer>", f"{ATTACK}<footer>"))
    tab = browser.open(pierced, 360, 800)
    assert tab.value("document.querySelectorAll('script').length") == 1
    assert tab.value("document.title") == "Label job"
    assert any("Content Security Policy" in problem for problem in tab.problems())


def test_night_is_dark_and_day_is_light(browser: Browser, labelled: LabelConfig) -> None:
    page = Path(label_report(labelled)["report"])
    day, night = (browser.open(page, 360, 800, dark).value(BACKGROUND) for dark in (False, True))
    assert day != night
