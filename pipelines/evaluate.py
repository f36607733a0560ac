"""Re-rank a first-stage run with any number of rerankers and measure them.

python pipelines/evaluate.py --collection beir:path/to/scifact --split test --systems bm25 --depth 1000
python pipelines/evaluate.py --collection beir:path/to/scifact --systems bm25 out/student/student --output out/eval
python pipelines/evaluate.py --collection python-docs --systems bm25 teacher=out/t student=out/s --teacher teacher
"""

from inranker.cli import main
from inranker.evaluation.config import EvaluateConfig
from inranker.evaluation.stage import evaluate
from inranker.report.evaluate import report

MODES = {"report": (report, "write the report.html of a finished evaluation; measure nothing")}

if __name__ == "__main__":
    main(EvaluateConfig, evaluate, __doc__, MODES)
