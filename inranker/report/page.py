"""The frame of a report: one HTML file that needs nothing else, on a phone as on a desk, by day as by night.

No script, no font, no image, no link to anywhere: the page's own content security policy forbids all of them, so that
even a text that slipped through the escaping could not run.
"""

import html
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

MOST_CHARACTERS = 1200  # of a text; a page that shows a hundred passages must stay small
UNFOLDED = 10  # findings shown before the rest is asked for
OPENING = 180  # of a passage before it is unfolded


class Html(str):
    """Markup that is escaped already."""


def escape(value: Any) -> Html:
    """A value as text of the page; markup that is escaped already stays as it is."""
    return value if isinstance(value, Html) else Html(html.escape(str(value), quote=True))


def shorten(text: str, most: int = MOST_CHARACTERS) -> str:
    """The beginning of a long text, saying how much of it is left out."""
    return text if len(text) <= most else f"{text[:most]} … (and {len(text) - most:,} characters more)"


def number(value: float | int | None, digits: int = 4) -> str:
    """A figure as people read it: 1,234,567 · 0.0213 · – where there is none."""
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.3g}"
    return f"{value:,.{digits if abs(value) < 10 else 1}f}".rstrip("0").rstrip(".")


def share(part: float, whole: float) -> str:
    """A share in per cent; – of nothing."""
    return f"{100 * part / whole:.3g} %" if whole else "–"


def duration(seconds: float) -> str:
    """Seconds as 42 s, 3 min 5 s or 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def paragraph(text: Any) -> Html:
    """A paragraph of text."""
    return Html(f"<p>{escape(text)}</p>")


def tiles(figures: Iterable[tuple[str, Any]]) -> Html:
    """The figures one looks for first, each with its name."""
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in figures)
    return Html(f'<dl class="tiles">{rows}</dl>')


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str) -> Html:
    """A table that scrolls inside its own box; numbers stand right.

    Args:
        columns: headings.
        rows: cells, any values.
        caption: what the table shows; also what a screen reader says on the way into its box.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return Html(
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(value: Any) -> str:
    if isinstance(value, Html):
        return f"<td>{value}</td>"
    if isinstance(value, bool) or not isinstance(value, int | float):
        # Each cell chooses its own direction, so an Arabic passage or a stray override character stays in its box.
        return f'<td dir="auto">{escape(shorten(str(value)))}</td>'
    return f'<td class="figure">{number(value)}</td>'


def finding(figures: str, query: str, passage: str) -> Html:
    """A pair to look at: its figures, its query, and the beginning of its passage, the rest a tap away."""
    passage = shorten(passage)
    opening = passage[:OPENING]
    text = f'<p dir="auto">{escape(passage)}</p>'
    if len(passage) > OPENING:
        text = f'<details><summary dir="auto">{escape(opening)}…</summary>{text}</details>'
    return Html(
        f'<p class="soft" dir="auto">{escape(figures)}</p><p class="query" dir="auto">{escape(query)}</p>{text}'
    )


def findings(title: str, items: Sequence[Html]) -> Html:
    """A numbered list of findings under a heading of its own."""
    rows = [f"<li>{item}</li>" for item in items]
    shown = f'<h3>{escape(title)}</h3><ol class="findings">{"".join(rows[:UNFOLDED])}</ol>'
    if len(rows) <= UNFOLDED:
        return Html(shown)
    rest = Html(f'<ol class="findings" style="counter-reset:n {UNFOLDED}">{"".join(rows[UNFOLDED:])}</ol>')
    return Html(shown + details(f"{len(rows) - UNFOLDED} more", rest))


def details(summary: str, *body: Html) -> Html:
    """Something folded away until it is asked for."""
    return Html(f"<details><summary>{escape(summary)}</summary>{''.join(body)}</details>")


def charts(*figures: Html) -> Html:
    """Charts side by side where there is room."""
    return Html(f'<div class="charts">{"".join(figures)}</div>')


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading of its own."""

    title: str
    body: list[Html] = field(default_factory=list)


def page(title: str, about: str, sections: Sequence[Section]) -> bytes:
    """The whole page.

    Args:
        title: heading, and the name of the browser's tab.
        about: one sentence under it.
        sections: parts in order; those without body are left out.
    """
    parts = "".join(
        f'<section aria-labelledby="s{place}"><h2 id="s{place}">{escape(section.title)}</h2>'
        f"{''.join(section.body)}</section>"
        for place, section in enumerate(sections)
        if section.body
    )
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    document = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<header><h1>{escape(title)}</h1><p class="about">{escape(about)}</p></header>{parts}'
        f"<footer>InRanker · {made}</footer></main></body></html>\n"
    )
    return document.encode("utf-8", errors="replace")


STYLE = """
:root{--paper:#fcfcfb;--card:#fff;--ink:#1d2329;--soft:#5a6572;--line:#dfe3e8;--grid:#e9ecf0;
--c0:#1f6fb8;--c1:#c8611a;--c2:#1c8a6a;--c3:#7a55b5;--c4:#a8324a}
@media(prefers-color-scheme:dark){:root{--paper:#12151a;--card:#191d23;--ink:#e5e8ec;--soft:#9ba6b3;--line:#2c323a;
--grid:#262b32;--c0:#6db1f2;--c1:#f0994f;--c2:#4fc79f;--c3:#b493ec;--c4:#f07d92}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:72rem;margin:0 auto;padding:1.25rem 1rem 3rem}
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.125rem;margin:2.25rem 0 .5rem;padding-top:1rem;border-top:1px solid var(--line)}
p{margin:.5rem 0;max-width:46rem;overflow-wrap:anywhere}
.about,figcaption,caption,footer,dt{color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.5rem,1fr));gap:.5rem;margin:1rem 0}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.5rem .75rem}
dt{font-size:.8125rem}
dd{margin:0;font-size:1.125rem;font-weight:600;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1rem;align-items:start}
figure{margin:.75rem 0;background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.75rem;
min-width:0;max-width:44rem}
.charts figure{margin:0}
figcaption{font-size:.875rem;margin-top:.25rem}
figure h3{font-size:.9375rem;margin:0 0 .25rem}
svg{display:block;width:100%;height:auto;font:11px system-ui,-apple-system,"Segoe UI",sans-serif}
svg text{fill:var(--soft)}
svg .strong{fill:var(--ink)}
svg .grid{stroke:var(--grid);stroke-width:1}
svg .axis{stroke:var(--soft);stroke-width:1}
.k0{--c:var(--c0)}.k1{--c:var(--c1)}.k2{--c:var(--c2)}.k3{--c:var(--c3)}.k4{--c:var(--c4)}
svg .fill{fill:var(--c)}
svg .area{fill:var(--c);fill-opacity:.16}
svg .dot{fill:var(--c);fill-opacity:.45}
svg .theirs{fill:none;stroke:var(--soft);stroke-width:1.25}
svg .level{stroke:var(--soft);stroke-width:1;stroke-dasharray:4 3}
svg .path{fill:none;stroke:var(--c);stroke-width:1.75;stroke-linejoin:round}
.scroll{overflow-x:auto;margin:.75rem 0;border:1px solid var(--line);border-radius:.5rem;background:var(--card);
-webkit-overflow-scrolling:touch}
.scroll:focus-visible,summary:focus-visible{outline:2px solid var(--c0);outline-offset:2px}
table{border-collapse:collapse;width:100%;font-size:.875rem}
caption{text-align:left;padding:.5rem .75rem;font-size:.875rem}
th,td{text-align:left;padding:.375rem .75rem;border-top:1px solid var(--line);vertical-align:top;
unicode-bidi:isolate}
th{font-weight:600;white-space:nowrap}
td.figure{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
h3{font-size:1rem;margin:1.5rem 0 .5rem}
.findings{padding-left:0;list-style:none;counter-reset:n;columns:2 26rem;column-gap:1rem;margin:0}
.findings li{break-inside:avoid;border-top:1px solid var(--line);padding:.5rem 0;counter-increment:n}
.findings p{margin:.125rem 0;unicode-bidi:isolate}
.findings p,.findings summary{font-size:.875rem;overflow-wrap:anywhere}
.findings summary{padding:0;unicode-bidi:isolate}
.soft{color:var(--soft);font-variant-numeric:tabular-nums}
.soft:before{content:counter(n) " · "}
.findings .query{font-weight:600}
p code,td code{font:.8125rem/1.4 ui-monospace,monospace;overflow-wrap:anywhere}
td code{white-space:nowrap}
summary{cursor:pointer;padding:.25rem 0;color:var(--soft);font-size:.9375rem}
footer{margin-top:3rem;font-size:.8125rem}
"""


def code(text: Any) -> Html:
    """An identifier, a hash or a path."""
    return Html(f"<code>{escape(text)}</code>")
