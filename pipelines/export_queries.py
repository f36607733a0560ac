"""Write generated queries as a BEIR-format directory, for other tools.

python pipelines/export_queries.py --synthesis out/synthesis --output out/beir-synthetic
python pipelines/export_queries.py --synthesis out/synthesis --corpus false --output out/queries
"""

from inranker.cli import main
from inranker.synthesis.export import ExportQueriesConfig, export_queries

if __name__ == "__main__":
    main(ExportQueriesConfig, export_queries, __doc__)
