"""Mine candidate pairs of a collection: judged positives, and negatives sampled from the BM25 top 1000.

    python pipelines/mine.py --collection beir:path/to/scifact --split train --output out/pairs
    python pipelines/mine.py --collection python-docs --split train --negatives_per_positive 9 --output out/pairs
    python pipelines/mine.py --collection ir_datasets:msmarco-passage --split train --output s3://bucket/pairs

The same seed gives the same bytes on any machine.
"""

from inranker.cli import main
from inranker.mining import MineConfig, mine
from inranker.report.mine import report

MODES = {"report": (report, "write the report.html of a finished job; mine nothing")}

if __name__ == "__main__":
    main(MineConfig, mine, __doc__, MODES)
