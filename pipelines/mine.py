"""Mine candidate pairs of a collection: judged positives, and negatives sampled from the BM25 top 1000.

    python pipelines/mine.py --collection beir:path/to/scifact --split train --output out/pairs
    python pipelines/mine.py --collection python-docs --split train --negatives_per_positive 9 --output out/pairs
    python pipelines/mine.py --collection ir_datasets:msmarco-passage --split train --output s3://bucket/pairs
    python pipelines/mine.py --collection quati:path/to/quati --split test --retriever lucene --output out/pairs
    python pipelines/mine.py --collection files:my/collection.yaml --retriever bm25s+dense:path/to/encoder \\
        --bands 1-100:3 101-1000:6 --near_duplicates 0.8 --output out/pairs
    python pipelines/mine.py … --execution.workers 8 --execution.cache /scratch/indexes          # Ray workers

The same seed gives the same bytes on any machine. docs/collections.md lists collections and first stages.
"""

from inranker.cli import main
from inranker.mining import MineConfig, mine
from inranker.report.mine import report

MODES = {"report": (report, "write the report.html of a finished job; mine nothing")}

if __name__ == "__main__":
    main(MineConfig, mine, __doc__, MODES)
