"""svg.py - draws a chart as an SVG file: rows in groups, one value each, with its spread.

Readable on light and dark pages: the reader's colour scheme chooses. On a logarithmic axis a value is a dot (a bar's
length would say nothing), on a linear one a bar. Values are in one unit.
"""

import math
from xml.sax.saxutils import escape

WIDTH, LABELS, VALUES, ROW, GROUP, TOP, BOTTOM = 760, 120, 96, 22, 30, 58, 46

STYLE = """
text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #1f2328; }
.page { fill: #ffffff; } .title { font-size: 15px; font-weight: 600; } .small { font-size: 11px; }
.soft { fill: #59636e; } .grid { stroke: #d8dee4; stroke-width: 1; }
.peer { fill: #8c959f; stroke: #8c959f; } .ours { fill: #0969da; stroke: #0969da; }
.spread { stroke-width: 2; opacity: .55; } .stem { stroke-width: 1; opacity: .35; }
.name { font-weight: 600; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; } .page { fill: #0d1117; } .soft { fill: #9198a1; } .grid { stroke: #30363d; }
.peer { fill: #7d8590; stroke: #7d8590; } .ours { fill: #58a6ff; stroke: #58a6ff; } }
"""


class Chart:
    """groups: [(name, [(label, value, low, high, is it ours)])]; low and high may be None."""

    def __init__(self, name, title, unit, groups, log, better):
        self.name, self.title, self.unit, self.groups, self.log, self.better = name, title, unit, groups, log, better

    def values(self):
        return [v for _, rows in self.groups for r in rows for v in r[1:4] if v is not None and v > 0]

    def ticks(self):
        """Where the axis has lines; the first and the last are its ends."""
        values = self.values() or [1.0]
        if self.log:
            low, high = math.log10(min(values)), math.log10(max(values))
            steps = [a * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for a in (1, 2, 5)]
            first = max([s for s in steps if s <= min(values) * 0.9] or steps[:1])
            last = min([s for s in steps if s >= max(values)] or steps[-1:])
            return [s for s in steps if first <= s <= last]
        step = 10.0 ** math.floor(math.log10(max(values)))
        while max(values) / step < 4:
            step /= 2
        return [i * step for i in range(math.ceil(max(values) / step) + 1)]

    def draw(self):
        """The file's text."""
        ticks = self.ticks()
        self.low, self.high = ticks[0], ticks[-1]
        height = TOP + sum(GROUP + ROW * len(rows) for _, rows in self.groups) + BOTTOM
        out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
               f'height="{height}" role="img"><title>{escape(self.title)}</title><style>{STYLE}</style>',
               f'<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>',
               text(16, 26, self.title, "title"),
               text(16, 44, f"{self.unit}; {self.better}" + ("; logarithmic" if self.log else ""), "small soft")]
        for t in ticks:
            out += [f'<line class="grid" x1="{self.x(t):.1f}" y1="{TOP}" x2="{self.x(t):.1f}" y2="{height - BOTTOM + 6}"/>',
                    text(self.x(t), height - BOTTOM + 22, number(t), "small soft", "middle")]
        y = TOP
        for name, rows in self.groups:
            out.append(text(16, y + 20, name, "name"))
            y += GROUP
            for row in rows:
                out += self.row(y + ROW / 2, *row)
                y += ROW
        return "\n".join(out + ["</svg>\n"])

    def x(self, value):
        value = max(value, self.low)
        if self.log:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return LABELS + part * (WIDTH - LABELS - VALUES)

    def row(self, y, label, value, low, high, ours):
        kind = "ours" if ours else "peer"
        x = self.x(value)
        out = [text(LABELS - 10, y + 4, label, "", "end")]
        if self.log:
            out.append(f'<line class="{kind} stem" x1="{LABELS}" y1="{y}" x2="{x:.1f}" y2="{y}"/>')
        else:
            out.append(f'<rect class="{kind}" stroke="none" x="{LABELS}" y="{y - 6}" width="{max(1.0, x - LABELS):.1f}" '
                       f'height="12" rx="2"/>')
        if low is not None and high is not None:
            out.append(f'<line class="{kind} spread" x1="{self.x(low):.1f}" y1="{y}" x2="{self.x(high):.1f}" y2="{y}"/>')
        if self.log:
            out.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y}" r="5"/>')
        end = max(x, self.x(high) if high is not None else x)
        out.append(text(end + 10, y + 4, number(value), "small"))
        return out


def text(x, y, words, kind, anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(str(words))}</text>'


def number(v):
    """Three digits are enough to see."""
    if v == 0:
        return "0"
    if v >= 100:
        return f"{v:,.0f}"
    return f"{v:.3g}"
