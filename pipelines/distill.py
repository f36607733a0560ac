"""Run a whole recipe, stage by stage: mine, label, train, evaluate. What is done and verified is skipped.

python pipelines/distill.py pipelines/recipes/quickstart.yaml           # fourteen minutes on two cores
python pipelines/distill.py pipelines/recipes/quickstart.yaml --collection beir:path/to/scifact --output out/mine
python pipelines/distill.py pipelines/recipes/scifact-smoke.yaml --tokenizer path/to/t5-tokenizer
python pipelines/distill.py pipelines/recipes/paper/inranker-60m.yaml --plan --price_per_hour 2   # run nothing
"""

from inranker.cli import main
from inranker.distill import DistillConfig, distill, plan

MODES = {"plan": (plan, "say what each stage will take: pairs, updates, GPU-hours, memory, cost; run nothing")}

if __name__ == "__main__":
    main(DistillConfig, distill, __doc__, MODES)
