"""Let a language model write queries for passages of a collection.

    python pipelines/synthesize.py --collection beir:path/to/scifact --model google/gemma-3-4b-pt \\
        --gpus_per_actor 1 --actors 8 --output s3://bucket/queries            # 8 GPUs, any number of nodes
    python pipelines/synthesize.py --collection beir:path/to/scifact --model path/to/model --gguf_file model.gguf \\
        --prompts vanilla promptagator:2 --passages 200 --output out/queries  # this CPU
    python pipelines/synthesize.py … --generator openai --openai.url http://localhost:8000/v1 --prompts instruct
    python pipelines/synthesize.py … --plan --peak_tflops 989 --price_per_hour 2.5  # tokens, hours and cost
    python pipelines/synthesize.py … --verify                                # check every receipt and shard
    python pipelines/mine.py --collection synthetic:out/queries --output out/pairs

The same command again continues an interrupted job: only units without a receipt are generated. docs/synthesis.md lists
prompts, engines and filters.
"""

from inranker.cli import main
from inranker.report.synthesize import report
from inranker.synthesis.config import SynthesizeConfig
from inranker.synthesis.factory import synthesize
from inranker.synthesis.plan import plan
from inranker.synthesis.verify import verify

MODES = {
    "plan": (plan, "say what is left: prompts, tokens, operations, hours, cost; start nothing"),
    "verify": (verify, "check receipts, objects, sha256s, row counts and alignment with the sample; generate nothing"),
    "report": (report, "write the report.html of a finished job; generate nothing"),
}

if __name__ == "__main__":
    main(SynthesizeConfig, synthesize, __doc__, MODES)
