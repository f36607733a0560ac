"""`--report` on the command line of each stage."""

import json
from pathlib import Path
from typing import Any

import pytest

from inranker.cli import main
from inranker.evaluation.config import EvaluateConfig
from inranker.labeling.config import LabelConfig
from inranker.mining import MineConfig
from inranker.report.evaluate import report as evaluate_report
from inranker.report.label import report as label_report
from inranker.report.mine import report as mine_report
from inranker.report.synthesize import report as synthesize_report
from inranker.report.train import report as train_report
from inranker.synthesis.config import SynthesizeConfig
from inranker.training.config import TrainConfig

STAGES: dict[str, tuple[type, Any, list[str]]] = {
    "labelled": (LabelConfig, label_report, ["--teacher", "t"]),
    "evaluated": (EvaluateConfig, evaluate_report, ["--collection", "c"]),
    "mined": (MineConfig, mine_report, ["--collection", "c"]),
    "charted": (TrainConfig, train_report, ["--start", "s"]),
    "synthesized": (SynthesizeConfig, synthesize_report, ["--collection", "c", "--model", "m"]),
}


@pytest.mark.parametrize("job", STAGES)
def test_report_is_a_mode_of_the_stage(
    job: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config_class, report, words = STAGES[job]
    finished = request.getfixturevalue(job)
    words = [*words, "--output", finished.output]
    if config_class is LabelConfig:
        words += ["--pairs", finished.identity.pairs]

    def stage(config: Any) -> dict[str, Any]:
        raise AssertionError("--report must not run the stage")

    page = Path(finished.output, "report.html")
    page.unlink(missing_ok=True)
    with pytest.raises(SystemExit) as ended:
        main(config_class, stage, "A stage.", {"report": (report, "write the report")}, [*words, "--report"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["report"] == str(page) and page.exists()
