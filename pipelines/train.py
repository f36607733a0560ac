"""Train a student on a teacher's logits, or on hard labels; Ray Train with DeepSpeed.

    python pipelines/train.py --labels out/labels --start t5-small --loss mse --steps 400000 --output out/student \\
        --use_gpu true --precision bfloat16                                                  # one GPU
    python pipelines/train.py … --workers 8 --zero_stage 1                                   # eight GPUs, any nodes
    python pipelines/train.py --pairs out/pairs --loss ce --start out/start/model --steps 500 --output out/teacher

The same command again continues an interrupted job from its last checkpoint, with the batches it had left.
"""

from inranker.cli import main
from inranker.report.train import report
from inranker.training.config import TrainConfig
from inranker.training.loop import train
from inranker.training.plan import plan

MODES = {
    "plan": (plan, "say what memory, time and money the job needs, and what fits; train nothing"),
    "report": (report, "write the report.html of a finished job; train nothing"),
}

if __name__ == "__main__":
    main(TrainConfig, train, __doc__, MODES)
