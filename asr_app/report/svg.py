"""Small plots as inline SVG. Colours are classes of the page's style: s0 to s5 for series, ink, grid, mark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

# As wide as a phone, so that its letters stay readable there.
_WIDTH, _HEIGHT = 360, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 18, 26, 40
_ROW, _BAR = 22, 14
_Scale = Callable[[float], float]  # from a value to a place of the picture


@dataclass(frozen=True)
class Point:
    """A point of a plot. `low` and `high` are the ends of its whisker on the y axis."""

    x: float
    y: float
    name: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Points of one symbol and colour. `line` joins them."""

    name: str
    points: Sequence[Point]
    line: bool = False


@dataclass(frozen=True)
class Mark:
    """A horizontal line at `y`, dashed or dotted."""

    y: float
    name: str
    dotted: bool = False

    @property
    def style(self) -> str:
        """Class of the line, for the plot and its legend."""
        return "mark dotted" if self.dotted else "mark"


@dataclass(frozen=True)
class Bar:
    """A horizontal bar of `parts` (series number, value), one after the other. `name` stands at its left."""

    name: str
    parts: Sequence[tuple[int, float]]
    text: str


def scatter(title: str, series: Sequence[Series], x_label: str, y_label: str, marks: Sequence[Mark] = ()) -> str:
    """Points, lines and marks over two linear axes. The x axis begins at 0."""
    points = [point for one in series for point in one.points]
    xs = ticks(0.0, max(point.x for point in points) * 1.08)
    values = [v for p in points for v in (p.y, p.low, p.high) if v is not None] + [mark.y for mark in marks]
    ys = ticks(min(values) if marks else 0.0, max(values))

    def at_x(x: float) -> float:
        return _LEFT + (x - xs[0]) / (xs[-1] - xs[0]) * (_WIDTH - _LEFT - _RIGHT)

    def at_y(y: float) -> float:
        return _HEIGHT - _BOTTOM - (y - ys[0]) / (ys[-1] - ys[0]) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_line(_LEFT, at_y(y), _WIDTH - _RIGHT, at_y(y), "grid") for y in ys]
    parts += [_text(_LEFT - 5, at_y(y) + 4, _number(y, ys), "end") for y in ys]
    parts += [_text(at_x(x), _HEIGHT - _BOTTOM + 15, _number(x, xs), "middle") for x in xs]
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_label, "middle", "soft"))
    parts.append(_text(4, 12, y_label, "start", "soft"))
    for mark in marks:
        line = _line(_LEFT, at_y(mark.y), _WIDTH - _RIGHT, at_y(mark.y), mark.style)
        parts.append(f"<g><title>{escape(mark.name)}</title>{line}</g>")
    for number, one in enumerate(series):
        parts.extend(_series(number, one, at_x, at_y))
    return _svg(title, _HEIGHT, parts)


def bars(title: str, rows: Sequence[Bar], unit: str) -> str:
    """Horizontal bars over a linear axis from 0, each with its text at its end."""
    left = 12 + 6.6 * max(_wide(row.name) for row in rows)
    right = 10 + 6.6 * max(_wide(row.text) for row in rows)
    most = max(sum(value for _, value in row.parts) for row in rows) or 1.0
    height = len(rows) * _ROW + 24
    scale = (_WIDTH - left - right) / most
    parts = [_line(left, 4, left, height - 20, "axis")]
    for i, row in enumerate(rows):
        y, x = 6 + i * _ROW, left
        parts.append(_text(left - 6, y + 11, row.name, "end"))
        for number, value in row.parts:
            parts.append(
                f'<rect class="s{number}" x="{x:.1f}" y="{y}" width="{value * scale:.1f}" height="{_BAR}" rx="2"/>'
            )
            x += value * scale
        parts.append(_text(x + 5, y + 11, row.text, "start"))
    parts.append(_text(left, height - 4, unit, "start", "soft"))
    return _svg(title, height, parts)


def symbol(number: int, x: float, y: float, title: str = "") -> str:
    """The symbol of series `number`: circle, square, triangle or diamond."""
    inner = f"<title>{escape(title)}</title>" if title else ""
    r = 5.0
    if number % 4 == 0:
        return f'<circle class="s{number}" cx="{x:.1f}" cy="{y:.1f}" r="{r}">{inner}</circle>'
    corners = {
        1: ((-r, -r), (r, -r), (r, r), (-r, r)), 2: ((0, -r - 1), (r + 1, r), (-r - 1, r)),
        3: ((0, -r - 1), (r + 1, 0), (0, r + 1), (-r - 1, 0)),
    }[number % 4]  # fmt: skip
    path = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon class="s{number}" points="{path}">{inner}</polygon>'


def ticks(low: float, high: float) -> list[float]:
    """Four to seven round numbers that enclose both. Equal ends are widened."""
    if high <= low:
        low, high = low - abs(low or 1.0) * 0.05, high + abs(high or 1.0) * 0.05
    raw = (high - low) / 4
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * k for k in range(first, max(last, first + 1) + 1)]


def _series(number: int, one: Series, at_x: _Scale, at_y: _Scale) -> Iterator[str]:
    if one.line and len(one.points) > 1:
        path = " ".join(f"{at_x(p.x):.1f},{at_y(p.y):.1f}" for p in one.points)
        yield f'<polyline class="line s{number}" points="{path}"/>'
    for point in one.points:
        x, y = at_x(point.x), at_y(point.y)
        if point.low is not None and point.high is not None:
            low, high = at_y(point.low), at_y(point.high)
            yield _line(x, low, x, high, f"whisker s{number}")
            yield from (_line(x - 4, end, x + 4, end, f"whisker s{number}") for end in (low, high))
        yield symbol(number, x, y, point.name)


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(title, quote=True)}">'
        f"{''.join(parts)}</svg>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _number(value: float, of: Sequence[float]) -> str:
    """The value with as many decimals as the steps between the ticks need."""
    decimals = max(0, -math.floor(math.log10(of[1] - of[0]) + 1e-9))
    step = (of[1] - of[0]) * 10**decimals
    return f"{value:.{decimals + (abs(step - round(step)) > 1e-6)}f}"


def _wide(text: str) -> int:
    """Letters of the text; a Chinese character counts twice."""
    return sum(2 if ord(character) > 0x2E7F else 1 for character in text)
