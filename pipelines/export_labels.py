"""Write labels in the format of another trainer.

    python pipelines/export_labels.py --labels out/labels --format sentence-transformers --output out/triples
    python pipelines/export_labels.py --labels out/labels --format tevatron --output s3://bucket/tevatron

sentence-transformers: `load_dataset("parquet", data_files="out/triples/*.parquet")` and MarginMSELoss.
tevatron: `python -m tevatron.retriever.driver.train_distil --dataset_name json --dataset_path out/tevatron/*.jsonl …`.
"""

from inranker.cli import main
from inranker.labeling.export import ExportConfig, export_labels

if __name__ == "__main__":
    main(ExportConfig, export_labels, __doc__)
