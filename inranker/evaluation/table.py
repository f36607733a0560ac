"""Systems × measures as a table that reads well as plain text and as Markdown."""

from collections.abc import Mapping, Sequence

DECIMALS = 4


def render_table(systems: Mapping[str, Mapping[str, float]], measures: Sequence[str] | None = None) -> str:
    """A row a system, a column a measure; a value that a system lacks is a dash.

    Args:
        systems: system -> measure -> value.
        measures: columns in order; when None, every measure in order of first appearance.
    """
    columns = (
        list(measures) if measures is not None else list(dict.fromkeys(m for row in systems.values() for m in row))
    )
    header = ["system", *columns]
    rows = [[name, *(_cell(values.get(column)) for column in columns)] for name, values in systems.items()]
    return render_rows(header, rows)


def render_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells as an aligned Markdown table: the first column to the left, the others to the right."""
    table = [[_escape(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    rule = [f"{'-' * max(1, width - 1)}{'-' if column == 0 else ':'}" for column, width in enumerate(widths)]
    lines = [_line(table[0], widths), _line(rule, widths), *(_line(row, widths) for row in table[1:])]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = [
        cell.ljust(width) if column == 0 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(aligned)} |"


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.{DECIMALS}f}"


def _escape(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")
