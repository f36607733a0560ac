"""Write the DeepSpeed config of each ZeRO stage as the trainer makes it, for reading and for use elsewhere.

python cluster/write_deepspeed.py                # cluster/deepspeed/*.json
python cluster/write_deepspeed.py --check        # exit code 1 where a file is not what the trainer makes

The trainer needs none of these files: `train.py --zero_stage 3 --offload cpu` says it all.
"""

import json
import sys
from pathlib import Path

from inranker.training.config import TrainExecution, TrainIdentity
from inranker.training.deepspeed import zero_config

FOLDER = Path(__file__).parent / "deepspeed"
NVME = "/local_nvme"
EXECUTIONS = {
    "zero0": TrainExecution(zero_stage=0),
    "zero1": TrainExecution(zero_stage=1),
    "zero2": TrainExecution(zero_stage=2),
    "zero3": TrainExecution(zero_stage=3),
    "zero2-offload-cpu": TrainExecution(zero_stage=2, offload="cpu"),
    "zero3-offload-cpu": TrainExecution(zero_stage=3, offload="cpu"),
    "zero3-offload-nvme": TrainExecution(zero_stage=3, offload="nvme", nvme_path=NVME),
}
# In bfloat16 the trainer raises stage 0 to 1, whose float32 master weights it needs; float32 shows a stage 0.
PRECISIONS = {"zero0": "float32"}


def contents() -> dict[str, str]:
    """File name -> JSON text, for GPUs."""
    found = {}
    for name, execution in EXECUTIONS.items():
        identity = TrainIdentity(start="any", precision=PRECISIONS.get(name, "bfloat16"))  # type: ignore[arg-type]
        found[f"{name}.json"] = json.dumps(zero_config(identity, execution, on_gpu=True), indent=2) + "\n"
    return found


def stale() -> list[str]:
    """Names of the files that are missing, strange, or not what the trainer makes."""
    expected = contents()
    there = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    return sorted(name for name in expected.keys() | there.keys() if expected.get(name) != there.get(name))


def main(arguments: list[str]) -> int:
    """Write or check."""
    if "--check" in arguments:
        wrong = stale()
        print("\n".join(f"{name} is not what the trainer makes" for name in wrong) or "all as the trainer makes them")
        return bool(wrong)
    FOLDER.mkdir(exist_ok=True)
    for name, text in contents().items():
        (FOLDER / name).write_text(text)
        print(FOLDER / name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
