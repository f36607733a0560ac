"""The commands of `inranker`: each a stage, by the places of its config and its function.

A new stage is one script in `pipelines/` and one line here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Command:
    """A stage; what it names is imported when it is called."""

    config: str
    """module:Class"""
    stage: str
    """module:function"""
    help: str
    """One line for `inranker --help`."""
    modes: Mapping[str, str] = field(default_factory=dict)
    """flag -> module:function, other things to do with the same config; what they are for is said by its docstring."""


COMMANDS: dict[str, Command] = {
    "rank": Command(
        "inranker.ranking.config:RankConfig",
        "inranker.ranking.rerun:rank",
        "re-rank JSON lines, a TREC run, or the passages of files",
    ),
    "calibrate": Command(
        "inranker.ranking.calibrate:CalibrateConfig",
        "inranker.ranking.calibrate:calibrate",
        "fit what scores are worth as probabilities",
    ),
    "publish": Command(
        "inranker.publish:PublishConfig",
        "inranker.publish:publish",
        "put a student with its model card on the hub, or into a folder",
    ),
    "serve": Command("inranker.serving.config:ServeConfig", "inranker.serving.start:start", "answer /v1/rerank"),
    "export": Command(
        "inranker.export.config:ExportConfig",
        "inranker.export.stage:export",
        "convert a reranker for ONNX Runtime or CTranslate2",
        {"plan": "inranker.export.stage:plan", "verify": "inranker.export.stage:verify"},
    ),
    "mine": Command(
        "inranker.mining:MineConfig",
        "inranker.mining:mine",
        "draw pairs to label from a collection",
        {"report": "inranker.report.mine:report"},
    ),
    "synthesize": Command(
        "inranker.synthesis.config:SynthesizeConfig",
        "inranker.synthesis.factory:synthesize",
        "have a language model write queries for a collection",
        {
            "plan": "inranker.synthesis.plan:plan",
            "verify": "inranker.synthesis.verify:verify",
            "report": "inranker.report.synthesize:report",
        },
    ),
    "filter_queries": Command(
        "inranker.synthesis.refilter:RefilterConfig",
        "inranker.synthesis.refilter:refilter",
        "filter generated queries anew",
        {"report": "inranker.report.synthesize:report"},
    ),
    "export_queries": Command(
        "inranker.synthesis.export:ExportQueriesConfig",
        "inranker.synthesis.export:export_queries",
        "write generated queries as a BEIR folder",
    ),
    "label": Command(
        "inranker.labeling.config:LabelConfig",
        "inranker.labeling.factory:label",
        "score pairs with a teacher",
        {
            "plan": "inranker.labeling.plan:plan",
            "verify": "inranker.labeling.verify:verify",
            "report": "inranker.report.label:report",
        },
    ),
    "combine": Command(
        "inranker.labeling.combine:CombineConfig", "inranker.labeling.combine:combine", "average several teachers"
    ),
    "align": Command(
        "inranker.aligning:AlignConfig", "inranker.aligning:align", "find the same pairs in another language"
    ),
    "import_labels": Command(
        "inranker.labeling.importing:ImportConfig",
        "inranker.labeling.importing:import_labels",
        "read the label sets that InRanker's authors released",
    ),
    "export_labels": Command(
        "inranker.labeling.export:ExportConfig",
        "inranker.labeling.export:export_labels",
        "write labels for other trainers",
    ),
    "train": Command(
        "inranker.training.config:TrainConfig",
        "inranker.training.loop:train",
        "regress a student on labels",
        {"plan": "inranker.training.plan:plan", "report": "inranker.report.train:report"},
    ),
    "evaluate": Command(
        "inranker.evaluation.config:EvaluateConfig",
        "inranker.evaluation.stage:evaluate",
        "re-rank a first stage with rerankers and measure them",
        {"report": "inranker.report.evaluate:report"},
    ),
    "agree": Command(
        "inranker.evaluation.agree:AgreeConfig",
        "inranker.evaluation.agree:agree",
        "measure agreement with a teacher or a language model, without qrels",
    ),
    "average": Command(
        "inranker.evaluation.averages:AverageConfig",
        "inranker.evaluation.averages:average",
        "average the figures of several collections",
    ),
    "distill": Command(
        "inranker.distill:DistillConfig",
        "inranker.distill:distill",
        "run a recipe's stages in order",
        {"plan": "inranker.distill:plan"},
    ),
}
