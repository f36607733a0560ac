"""Average evaluations of the same systems over several collections.

    python pipelines/average.py --evaluations out/scifact,out/nfcorpus,out/fiqa
    python pipelines/average.py --evaluations out/scifact,out/nfcorpus --in_domain nfcorpus     # and the rest apart
    python pipelines/average.py --evaluations … --sample_set 1 --against paper                 # as Table 4 of the paper
    python pipelines/average.py --evaluations … --output out/average                           # with a report.html

Nothing is measured anew: the evaluations' own summaries are read.
"""

from inranker.cli import main
from inranker.evaluation.averages import AverageConfig, average

if __name__ == "__main__":
    main(AverageConfig, average, __doc__)
