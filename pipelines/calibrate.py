"""Fit what a reranker's scores are worth as probabilities, on qrels or on a teacher's labels.

    python pipelines/calibrate.py --model out/student/student --collection beir:path/to/scifact --split train \\
        --output out/calibrated
    python pipelines/calibrate.py --model out/student/student --labels out/labels --method isotonic \\
        --output out/calibrated

OUTPUT/model is the checkpoint with the calibration in its reranker.json; it ranks as before.
"""

from inranker.cli import main
from inranker.ranking.calibrate import CalibrateConfig, calibrate

if __name__ == "__main__":
    main(CalibrateConfig, calibrate, __doc__)
