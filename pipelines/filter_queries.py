"""Filter generated queries anew: nothing is generated again. Also by a teacher's labels, once there are some.

    python pipelines/filter_queries.py --synthesis out/synthesis --filters length duplicates round_trip \\
        --filter.round_trip_k 3 --output out/synthesis-round-trip
    python pipelines/filter_queries.py --synthesis out/synthesis --filters reranker --filter.reranker out/reranker \\
        --filter.reranker_top_k 10000 --output out/synthesis-inpars-v2
    python pipelines/filter_queries.py --synthesis out/synthesis --filters teacher_margin --filter.labels out/labels \\
        --filter.teacher_margin 2 --output out/synthesis-agreed

The output is a query set like the synthesis' own: `mine.py --collection synthetic:out/synthesis-agreed --split train`.
"""

from inranker.cli import main
from inranker.report.synthesize import report
from inranker.synthesis.refilter import RefilterConfig, refilter

MODES = {"report": (report, "write the report.html of a finished job; filter nothing")}

if __name__ == "__main__":
    main(RefilterConfig, refilter, __doc__, MODES)
