"""Export a reranker to ONNX Runtime or CTranslate2, held to the original's logits on real pairs.

    python pipelines/export.py --model out/student/student --output out/student-onnx            # ONNX, 8-bit products
    python pipelines/export.py --model out/student/student --precision float32 --output out/student-onnx-fp32
    python pipelines/export.py --model out/student/student --format ct2 --output out/student-ct2
    python pipelines/export.py --model out/student/student --sample.collection beir:path/to/scifact --output out/onnx
    python pipelines/export.py … --verify             # sha256 of every file, and parity again on this processor

Use it with `Ranker("out/student-onnx", backend="onnx")`. An export that changes too much is refused; nothing is kept.
"""

from inranker.cli import main
from inranker.export.config import ExportConfig
from inranker.export.stage import export, plan, verify

MODES = {
    "plan": (plan, "say what would be exported and checked; convert nothing"),
    "verify": (verify, "check the sha256 of every file, and the parity again on this machine"),
}

if __name__ == "__main__":
    main(ExportConfig, export, __doc__, MODES)
