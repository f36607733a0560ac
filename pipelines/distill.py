"""Run a whole recipe, stage by stage: mine, label, train, evaluate. What is done and verified is skipped.

python pipelines/distill.py pipelines/recipes/quickstart.yaml                       # seven minutes on two cores
python pipelines/distill.py pipelines/recipes/quickstart.yaml --collection beir:path/to/scifact --output out/mine
python pipelines/distill.py pipelines/recipes/scifact-smoke.yaml --tokenizer path/to/t5-tokenizer
"""

from inranker.cli import main
from inranker.distill import DistillConfig, distill

if __name__ == "__main__":
    main(DistillConfig, distill, __doc__)
