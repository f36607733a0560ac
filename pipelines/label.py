"""Score (query, passage) pairs with a teacher and write its raw logits.

    python pipelines/label.py --pairs out/pairs --teacher castorini/monot5-3b-msmarco-10k --precision bfloat16 \\
        --gpus_per_actor 1 --actors 8 --output s3://bucket/labels            # 8 GPUs, any number of nodes
    python pipelines/label.py --pairs out/pairs --teacher out/teacher/student --output out/labels     # this CPU
    python pipelines/label.py … --plan --peak_tflops 989 --price_per_hour 2.5  # hours and cost, before anything starts
    python pipelines/label.py … --verify                                     # check every receipt and shard

The same command again continues an interrupted job: only units without a receipt are scored.
"""

from inranker.cli import main
from inranker.labeling.config import LabelConfig
from inranker.labeling.factory import label
from inranker.labeling.plan import plan
from inranker.labeling.verify import verify
from inranker.report.label import report

MODES = {
    "plan": (plan, "say what is left: pairs, tokens, duplicates, operations, hours, cost; start nothing"),
    "verify": (verify, "check receipts, objects, sha256s, row counts and alignment with the pairs; score nothing"),
    "report": (report, "write the report.html of a finished job; score nothing"),
}

if __name__ == "__main__":
    main(LabelConfig, label, __doc__, MODES)
