"""Import a label set that InRanker's authors released: OUTPUT/pairs and OUTPUT/labels.

    python pipelines/import_labels.py --file InRanker_msmarco.tsv --format msmarco --max_rows 12800000 \\
        --collection ir_datasets:msmarco-passage --output out/msmarco
    python pipelines/import_labels.py --file inpars_beir_dataset.jsonl --format beir --output s3://bucket/beir

train.py takes OUTPUT/labels as it takes any labels; the summary says whether the logits were centred.
"""

from inranker.cli import main
from inranker.labeling.importing import ImportConfig, import_labels

if __name__ == "__main__":
    main(ImportConfig, import_labels, __doc__)
