"""Write mined pairs again in another language, row for row, from a collection that shares their ids.

    python pipelines/mine.py --collection ir_datasets:mmarco/en/train --split train --output out/pairs-en
    python pipelines/align.py --pairs out/pairs-en --collection ir_datasets:mmarco/pt/train --split train \\
        --output out/pairs-en-pt                        # out/pairs-en-pt/en and out/pairs-en-pt/pt

Either of the two is a directory of pairs to label; alignment.json says what one of the collections lacked.
"""

from inranker.aligning import AlignConfig, align
from inranker.cli import main

if __name__ == "__main__":
    main(AlignConfig, align, __doc__)
