"""Combine the labels of several teachers over the same pairs into one label set.

    python pipelines/combine.py --labels out/labels-a out/labels-b --output out/labels                # equal weights
    python pipelines/combine.py --labels out/labels-a out/labels-b --weights 2,1 --output s3://bucket/labels

Each teacher's margins are standardised, then averaged; train.py takes the result as it takes any labels.
"""

from inranker.cli import main
from inranker.labeling.combine import CombineConfig, combine

if __name__ == "__main__":
    main(CombineConfig, combine, __doc__)
