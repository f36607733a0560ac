"""Charts of effectiveness: bars of several systems, set by set, and effectiveness over size (the paper's Fig. 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inranker.report.charts import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Axis, _clip, _figure, _tick, _x_axis, padded
from inranker.report.page import Html, details, escape, number, table

COLOURS = 5
BAR, GAP, HEADING = 15, 10, 17
NAME = 118  # room for a system's name beside its bar
LETTER = 6.6  # width of a letter of a label, about
HEIGHT = 230
SIZES = {"m": 1e6, "b": 1e9}

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Point:
    """A system: its number of parameters and its value; `theirs` where both are the paper's."""

    name: str
    parameters: float
    value: float
    theirs: bool = False


def grouped_bars(title: str, sets: Mapping[str, Mapping[str, float]], caption: str) -> Html:
    """A heading a set and under it a bar a system, with its value at the end; a system has one colour throughout."""
    systems = list(dict.fromkeys(name for values in sets.values() for name in values))
    most = max((value for values in sets.values() for value in values.values()), default=0) or 1
    room = WIDTH - NAME - RIGHT - 44
    y, parts = float(TOP), []
    for name, values in sets.items():
        parts.append(f'<text class="strong" x="10" y="{y + 11:.1f}">{escape(_clip(name, 48))}</text>')
        y += HEADING
        for system, value in values.items():
            wide = max(0.5, room * max(0.0, value) / most)
            parts.append(
                f'<text x="{NAME - 6}" y="{y + 10:.1f}" text-anchor="end">{escape(_clip(system, 17))}</text>'
                f'<g class="k{systems.index(system) % COLOURS}"><rect class="fill" x="{NAME}" y="{y:.1f}" '
                f'width="{wide:.1f}" height="{BAR - 3}"><title>{escape(system)}, {escape(name)}: '
                f"{number(value)}</title></rect></g>"
                f'<text class="strong" x="{NAME + wide + 5:.1f}" y="{y + 10:.1f}">{value:.4f}</text>'
            )
            y += BAR
        y += GAP
    return _figure(title, parts, y, caption)


def fig_1(
    systems: Mapping[str, Mapping[str, float]],
    parameters: Mapping[str, float],
    measure: str,
    theirs: Mapping[str, float],
    told: str,
) -> list[Html]:
    """Effectiveness over parameters, with a table of the points; nothing where no system has parameters."""
    ours = [Point(name, parameters[name], own[measure]) for name, own in systems.items() if name in parameters]
    if not ours:
        return []
    rings = [
        Point(f"{name} (paper)", size_of(name), value, theirs=True) for name, value in theirs.items() if size_of(name)
    ]
    level = ("bm25", systems["bm25"][measure]) if "bm25" in systems else None
    caption = "Filled: measured here."
    if level:
        caption += " Dashed: the first stage, measured here."
    if rings:
        caption += f" {told}."
    points = [*ours, *rings]
    rows = [(point.name, number(int(point.parameters)), point.value) for point in points]
    drawn = over_size(f"{measure} over size", points, level, measure, caption)
    return [drawn, details("The points", table(("system", "parameters", measure), rows, "Effectiveness and size"))]


def size_of(name: str) -> float:
    """Parameters of one of the paper's systems by its name (monot5-60m, inranker-3b); 0 where it has none."""
    last = name.rsplit("-", 1)[-1]
    return float(last[:-1]) * SIZES[last[-1]] if last[:-1].isdigit() and last[-1:] in SIZES else 0.0


def over_size(title: str, points: Sequence[Point], level: tuple[str, float] | None, measure: str, caption: str) -> Html:
    """Effectiveness over parameters, equal factors taking equal space.

    Args:
        title: of the chart.
        points: ours are filled, the paper's are grey rings.
        level: a system without parameters (BM25), drawn as a line across.
        measure: of the values.
        caption: says what is drawn.
    """
    x = Axis("parameters", min(p.parameters for p in points) / 1.6, max(p.parameters for p in points) * 1.6, log=True)
    values = [point.value for point in points] + ([level[1]] if level else [])
    y = Axis(measure, *padded(min(values), max(values)))
    top, bottom = TOP + 6, TOP + 6 + HEIGHT

    def at(point: Point) -> tuple[float, float]:
        return LEFT + x.place(point.parameters) * (WIDTH - LEFT - RIGHT), bottom - y.place(point.value) * HEIGHT

    parts = _x_axis(x, LEFT, top, bottom)
    for tick in y.ticks():
        up = bottom - y.place(tick) * HEIGHT
        parts.append(
            f'<line class="grid" x1="{LEFT}" y1="{up:.1f}" x2="{WIDTH - RIGHT}" y2="{up:.1f}"/>'
            f'<text x="{LEFT - 5}" y="{up + 4:.1f}" text-anchor="end">{_tick(tick)}</text>'
        )
    middle = (top + bottom) / 2
    parts.append(
        f'<text x="11" y="{middle}" text-anchor="middle" transform="rotate(-90 11 {middle})">{escape(measure)}</text>'
    )
    taken: list[Box] = []
    if level is not None:
        up = bottom - y.place(level[1]) * HEIGHT
        parts.append(f'<line class="level" x1="{LEFT}" y1="{up:.1f}" x2="{WIDTH - RIGHT}" y2="{up:.1f}"/>')
        parts.append(f'<text x="{LEFT + 4}" y="{up - 4:.1f}">{escape(_clip(level[0], 20))}</text>')
        taken.append((LEFT + 4, up - 14, LEFT + 4 + LETTER * len(level[0]), up))
    taken += [(across - 4, up - 4, across + 4, up + 4) for across, up in map(at, points)]
    ours = list(dict.fromkeys(point.name for point in points if not point.theirs))
    for point in sorted(points, key=lambda point: point.theirs):  # ours are labelled first
        across, up = at(point)
        told = f"{point.name}: {number(int(point.parameters))} parameters, {measure} {number(point.value)}"
        colour = "" if point.theirs else f' class="k{ours.index(point.name) % COLOURS}"'
        ring = 'class="theirs" r="3.5"' if point.theirs else 'class="fill" r="4.5"'
        parts.append(
            f'<g{colour}><circle {ring} cx="{across:.1f}" cy="{up:.1f}"><title>{escape(told)}</title></circle></g>'
        )
        parts.append(_label(point, across, up, taken))
    return _figure(title, parts, bottom + BOTTOM, caption)


def _label(point: Point, across: float, up: float, taken: list[Box]) -> str:
    """The name beside its point, where nothing lies yet; none where everything is taken (the table has it)."""
    name = _clip(point.name, 26)
    wide = LETTER * len(name)
    for left, base in (
        (across + 7, up + 4),
        (across - 7 - wide, up + 4),
        (across - wide / 2, up - 8),
        (across - wide / 2, up + 16),
        (across + 7, up - 7),
        (across + 7, up + 14),
        (across - 7 - wide, up - 7),
        (across - 7 - wide, up + 14),
    ):
        box = (left, base - 9, left + wide, base + 2)
        inside = left >= LEFT and left + wide <= WIDTH - 2 and box[1] >= 0
        if inside and not any(_overlap(box, other) for other in taken):
            taken.append(box)
            strong = "" if point.theirs else ' class="strong"'
            return f'<text{strong} x="{left:.1f}" y="{base:.1f}">{escape(name)}</text>'
    return ""


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
