"""Serve a reranker over HTTP: the rerank API of Cohere and Jina, metrics, and a page to try it.

    python pipelines/serve.py --model out/student/student --engine local                 # one process, no cluster
    python pipelines/serve.py --model unicamp-dl/InRanker-small --teacher out/teacher/student \\
        --collection beir:path/to/scifact                                                # the page compares them
    INRANKER_SERVE_TOKEN=… python pipelines/serve.py --model out/student/student --host 0.0.0.0 \\
        --scaling.max_replicas 8 --scaling.gpus 1                                        # Ray Serve, autoscaled

Ctrl-C or SIGTERM ends it once the requests in flight are answered. docs/serving.md shows requests and answers.
"""

from inranker.cli import main
from inranker.serving.config import ServeConfig
from inranker.serving.start import start

if __name__ == "__main__":
    main(ServeConfig, start, __doc__)
