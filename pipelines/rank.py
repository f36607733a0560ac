"""Re-rank JSON lines or a TREC run with a student, or rank the passages of files for a query.

    python pipelines/rank.py --model out/student/student < candidates.jsonl > ranked.jsonl
    python pipelines/rank.py --model out/student/student --input bm25.trec --collection beir:path/to/scifact \\
        --output student.trec
    python pipelines/rank.py --model unicamp-dl/InRanker-small --query "how do reefs form" --files notes.md

`inranker rank` is the same, and takes `inranker rank "how do reefs form" notes.md` as well.
"""

import sys

from inranker.console import run

if __name__ == "__main__":
    run("rank", sys.argv[1:], __doc__)
