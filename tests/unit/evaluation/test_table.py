"""The table, character by character."""

from inranker.evaluation.table import render_table


def test_markdown_that_reads_as_text() -> None:
    systems = {"bm25": {"nDCG@10": 0.678036, "AP": 0.6}, "a|b": {"nDCG@10": 1.0, "extra": 0.25}}
    assert render_table(systems) == (
        "| system | nDCG@10 |     AP |  extra |\n"
        "| ------ | ------: | -----: | -----: |\n"
        "| bm25   |  0.6780 | 0.6000 |      – |\n"
        "| a\\|b   |  1.0000 |      – | 0.2500 |"
    )


def test_columns_can_be_chosen() -> None:
    assert render_table({"s": {"x": 1, "y": 2}}, ["y"]).splitlines()[0] == "| system |      y |"
