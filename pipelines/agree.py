"""Measure how far rerankers agree with a teacher or a language model, where there are no qrels.

    python pipelines/agree.py --labels out/labels-dev --systems bm25,student=out/student/student --output out/agreement
    python pipelines/agree.py --verdicts verdicts.jsonl --systems teacher=out/teacher,student=out/student/student

Labels of held-out queries come from label.py on pairs of `--collection synthetic:DIRECTORY --split dev`.
"""

from inranker.cli import main
from inranker.evaluation.agree import AgreeConfig, agree

if __name__ == "__main__":
    main(AgreeConfig, agree, __doc__)
