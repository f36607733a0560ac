"""Charts as inline SVG: histograms in rows, bars, lines with a band, points.

Our own two hundred lines and not matplotlib's SVG backend, because the page is what counts: text stays text (readable
on a phone, spoken by a screen reader, found by a search), colours follow the reader's light or dark, a chart weighs
some kilobytes instead of a hundred, and a driver or a training node needs no plotting stack to finish its job.

Everything is drawn in units of a phone's width, so that a label is as big as the text around it there; wider screens
scale it up or put charts side by side. Data comes binned or sampled: nothing here thins it out.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from inranker.report.page import Html, escape, number

WIDTH = 360
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 8, 34
TICKS = 5


@dataclass(frozen=True)
class Axis:
    """One dimension of a chart: its title, its range, and whether equal factors take equal space."""

    title: str
    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies between the ends, 0 to 1."""
        low, high, at = (self.low, self.high, value) if not self.log else map(_log, (self.low, self.high, value))
        return min(max((at - low) / (high - low), 0.0), 1.0) if high > low else 0.5

    def ticks(self) -> list[float]:
        """Round values along the axis."""
        if self.log:
            first, last = math.floor(_log(self.low)), math.ceil(_log(self.high))
            every = max(1, -(-(last - first) // TICKS))
            factors = (1,) if last - first > 2 else (1, 2, 5)
            marks = [10.0**power * factor for power in range(first, last + 1, every) for factor in factors]
            return [tick for tick in marks if self.low * 0.999 <= tick <= self.high * 1.001]
        return round_ticks(self.low, self.high)


def round_ticks(low: float, high: float, most: int = TICKS) -> list[float]:
    """At most so many multiples of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [place * step for place in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def padded(low: float, high: float) -> tuple[float, float]:
    """A range with a little air, and never empty."""
    air = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return low - air, high + air


@dataclass(frozen=True)
class Series:
    """Points of one colour: places along x, values, and, for a band around them, its lower and upper edge."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    band: tuple[Sequence[float], Sequence[float]] | None = None


@dataclass(frozen=True)
class Row:
    """One histogram of several under each other: counts over the bins they all share."""

    name: str
    counts: Sequence[int]
    colour: int = 0


def histogram_rows(title: str, axis: Axis, rows: Sequence[Row], caption: str) -> Html:
    """Histograms under each other on one axis; each is as high as its own fullest bin, and says how many it counts."""
    height, gap = 46 if len(rows) > 1 else 120, 22
    bottom = TOP + len(rows) * (height + gap)
    left = 10
    scale = (WIDTH - left - RIGHT) / max(1, len(rows[0].counts) if rows else 1)
    parts = _x_axis(axis, left, TOP, bottom)
    for place, row in enumerate(rows):
        base = TOP + (place + 1) * (height + gap)
        total, most = sum(row.counts), max(row.counts, default=0)
        parts.append(
            f'<text class="strong" x="{left}" y="{base - height - 6}">{escape(row.name)} · {number(total)}</text>'
            f'<line class="axis" x1="{left}" y1="{base}" x2="{WIDTH - RIGHT}" y2="{base}"/>'
        )
        edges = [axis.low + (axis.high - axis.low) * bin_ / len(row.counts) for bin_ in range(len(row.counts) + 1)]
        bars = ""
        for bin_, count in enumerate(row.counts):
            if count:
                tall = max(0.75, height * count / most)
                words = f"{number(edges[bin_])} to {number(edges[bin_ + 1])}: {number(count)}"
                bars += (
                    f'<rect class="fill" x="{left + bin_ * scale:.1f}" y="{base - tall:.1f}" '
                    f'width="{max(0.5, scale - 0.6):.1f}" height="{tall:.1f}"><title>{words}</title></rect>'
                )
        parts.append(f'<g class="k{row.colour}">{bars}</g>')
    return _figure(title, parts, bottom + BOTTOM, caption)


def bars(title: str, names: Sequence[str], values: Sequence[float], caption: str, colour: int = 0) -> Html:
    """One horizontal bar a name, with its value written at its end."""
    height, most = 22, max(values, default=0) or 1
    longest = max((len(name) for name in names), default=0)
    left = min(150, 10 + 6.2 * longest)
    room = WIDTH - left - 72
    parts = []
    for place, (name, value) in enumerate(zip(names, values, strict=True)):
        y = TOP + place * height
        parts.append(
            f'<text x="{left - 6:.1f}" y="{y + 13}" text-anchor="end">{escape(_clip(name, 24))}</text>'
            f'<rect class="fill" x="{left:.1f}" y="{y + 2}" width="{max(0.5, room * value / most):.1f}" height="15"/>'
            f'<text class="strong" x="{left + room * value / most + 5:.1f}" y="{y + 13}">{number(value)}</text>'
        )
    return _figure(title, [f'<g class="k{colour}">', *parts, "</g>"], TOP + len(names) * height + 6, caption)


def lines(title: str, x: Axis, y: Axis, series: Sequence[Series], caption: str) -> Html:
    """Lines over one x axis, each with a band around it where it has one."""
    return _plane(title, x, y, series, caption, _line)


def scatter(title: str, x: Axis, y: Axis, series: Sequence[Series], caption: str, diagonal: bool = False) -> Html:
    """Points; with the diagonal where both axes measure the same."""
    return _plane(title, x, y, series, caption, _points, diagonal)


def overlay(title: str, x: Axis, y: Axis, points: Sequence[Series], curves: Sequence[Series], caption: str) -> Html:
    """Points with lines over them."""
    return _plane(title, x, y, [*points, *curves], caption, lambda s, at: (_points if s in points else _line)(s, at))


Place = Callable[[float, float], tuple[float, float]]


def _plane(
    title: str,
    x: Axis,
    y: Axis,
    series: Sequence[Series],
    caption: str,
    draw: Callable[[Series, Place], str],
    diagonal: bool = False,
) -> Html:
    legend, rows = _legend([one for one in series if one.name])
    top, height = TOP + (18 * rows or 4), 180
    bottom = top + height

    def at(across: float, up: float) -> tuple[float, float]:
        return LEFT + x.place(across) * (WIDTH - LEFT - RIGHT), bottom - y.place(up) * height

    parts = _x_axis(x, LEFT, top, bottom)
    for tick in y.ticks():
        _, up = at(x.low, tick)
        parts.append(
            f'<line class="grid" x1="{LEFT}" y1="{up:.1f}" x2="{WIDTH - RIGHT}" y2="{up:.1f}"/>'
            f'<text x="{LEFT - 5}" y="{up + 4:.1f}" text-anchor="end">{_tick(tick)}</text>'
        )
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        (x1, y1), (x2, y2) = at(low, low), at(high, high)
        parts.append(f'<line class="axis" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
    parts += [f'<g class="k{one.colour}">{draw(one, at)}</g>' for one in series]
    parts.append(
        f'<text x="11" y="{(top + bottom) / 2}" text-anchor="middle" '
        f'transform="rotate(-90 11 {(top + bottom) / 2})">{escape(y.title)}</text>'
    )
    return _figure(title, [legend, *parts], bottom + BOTTOM, caption)


def _line(series: Series, at: Place) -> str:
    held = [(a, b) for a, b in zip(series.x, series.y, strict=True) if math.isfinite(b)]
    points = " ".join("{:.1f},{:.1f}".format(*at(a, b)) for a, b in held)
    drawn = ""
    if series.band is not None:
        lower, upper = (list(zip(series.x, edge, strict=True)) for edge in series.band)
        edge = " ".join("{:.1f},{:.1f}".format(*at(a, b)) for a, b in [*lower, *reversed(upper)] if math.isfinite(b))
        drawn = f'<polygon class="area" points="{edge}"/>'
    dots = "".join('<circle class="fill" cx="{:.1f}" cy="{:.1f}" r="2.5"/>'.format(*at(a, b)) for a, b in held)
    return f'{drawn}<polyline class="path" points="{points}"/>{dots if len(held) <= 20 else ""}'


def _points(series: Series, at: Place) -> str:
    return "".join(
        '<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="1.6"/>'.format(*at(a, b))
        for a, b in zip(series.x, series.y, strict=True)
        if math.isfinite(b)
    )


def _legend(series: Sequence[Series]) -> tuple[str, int]:
    """The names with their colours, and how many rows they take; none for a single name."""
    if len(series) < 2:
        return "", 0
    drawn, left, row = "", float(LEFT), 0
    for one in series:
        name = _clip(one.name, 40)
        wide = 24 + 6.0 * len(name)
        if left > LEFT and left + wide > WIDTH:
            left, row = float(LEFT), row + 1
        drawn += (
            f'<g class="k{one.colour}"><circle class="fill" cx="{left + 4:.1f}" cy="{9 + 18 * row}" r="4"/></g>'
            f'<text x="{left + 12:.1f}" y="{13 + 18 * row}">{escape(name)}</text>'
        )
        left += wide
    return drawn, row + 1


def _x_axis(axis: Axis, left: int, top: int, bottom: int) -> list[str]:
    parts = []
    for tick in axis.ticks():
        across = left + axis.place(tick) * (WIDTH - left - RIGHT)
        anchor = "end" if across > WIDTH - RIGHT - 12 else "start" if across < 16 else "middle"
        parts.append(
            f'<line class="grid" x1="{across:.1f}" y1="{top}" x2="{across:.1f}" y2="{bottom}"/>'
            f'<text x="{across:.1f}" y="{bottom + 14}" text-anchor="{anchor}">{_tick(tick)}</text>'
        )
    parts.append(
        f'<text x="{(left + WIDTH - RIGHT) / 2:.1f}" y="{bottom + 29}" text-anchor="middle">{escape(axis.title)}</text>'
    )
    return parts


def _figure(title: str, parts: Sequence[str], height: float, caption: str) -> Html:
    drawing = (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}. {escape(caption)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
    return Html(f"<figure><h3>{escape(title)}</h3>{drawing}<figcaption>{escape(caption)}</figcaption></figure>")


def thin(x: Sequence[float], y: Sequence[float], most: int = 300) -> tuple[list[float], list[float]]:
    """A curve of at most so many points: means over equal runs of neighbours, so that nothing falls between."""
    if len(x) <= most:
        return list(x), list(y)
    edges = [len(x) * place // most for place in range(most + 1)]
    return (
        [sum(x[a:b]) / (b - a) for a, b in pairwise(edges)],
        [sum(y[a:b]) / (b - a) for a, b in pairwise(edges)],
    )


def _clip(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _tick(value: float) -> str:
    if abs(value) >= 10_000:
        for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= size:
                return f"{value / size:.4g}{letter}"
    if value and abs(value) < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value:.6g}"


def _log(value: float) -> float:
    return math.log10(max(value, 1e-300))
