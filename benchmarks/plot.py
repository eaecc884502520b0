"""Drawings on a logarithmic axis: the ratios of all kernels, and runtimes in the order of one figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from benchmarks.figures import number

Point = tuple[str, str, float]

_OURS, _THEIRS = "#1b6ca8", "#888888"
_COLOURS = (_OURS, "#d1495b", "#2e933c", "#edae49", "#6f4e9b", "#00798c", "#8d5524", "#555555", "#e377c2")
_ROW, _LEFT, _WIDTH, _RIGHT = 26, 170, 760, 60
_LEGEND_ROW, _LEGEND_COLUMNS = 20, 5
_RADIUS = 5


def draw(points: Sequence[Point], title: str) -> str:
    """An SVG document: a row for each kernel, a mark for each peer.

    `points` are kernel, peer and ratio, which is positive; `title` says what they are.
    """
    kernels = list(dict.fromkeys(kernel for kernel, _, _ in points))
    peers = list(dict.fromkeys(peer for _, peer, _ in points))
    top = 10 + _LEGEND_ROW * math.ceil(len(peers) / _LEGEND_COLUMNS)
    axis = _Axis((ratio for _, _, ratio in points), len(kernels), top)
    parts = [axis.lines(title)]
    for row, kernel in enumerate(kernels):
        parts.append(axis.row(row, kernel))
        for name, peer, ratio in points:
            if name == kernel:
                hint = f"{kernel}, {peer}: {ratio:.3g}"
                parts.append(_mark(axis.place(ratio), axis.middle(row), peers.index(peer), hint))
    parts += [_legend(index, peer) for index, peer in enumerate(peers)]
    return axis.document(parts)


def rank(figures: Mapping[str, float], title: str) -> str:
    """An SVG document: a row for each runtime, the fastest first, ours in colour.

    `figures` are positive; `title` says what they are.
    """
    ordered = sorted(figures, key=figures.__getitem__)
    axis = _Axis(figures.values(), len(ordered), top=10)
    parts = [axis.lines(title)]
    for row, runtime in enumerate(ordered):
        x, y = axis.place(figures[runtime]), axis.middle(row)
        colour = _OURS if runtime.startswith("tinywasm ") else _THEIRS
        parts.append(axis.row(row, runtime))
        parts.append(f'<circle cx="{x:.1f}" cy="{y}" r="{_RADIUS}" fill="{colour}"/>')
        parts.append(f'<text x="{x + 10:.1f}" y="{y + 4}" fill="{colour}">{number(figures[runtime])}</text>')
    return axis.document(parts)


class _Axis:
    """A logarithmic axis below rows: the powers of ten around the figures and around 1."""

    def __init__(self, figures: Iterable[float], rows: int, top: int) -> None:
        logarithms = [0.0, *map(math.log10, figures)]
        self._low = min(math.floor(min(logarithms)), -1)
        self._high = max(math.ceil(max(logarithms)), 1)
        self._top, self._bottom = top, top + _ROW * rows

    def place(self, figure: float) -> float:
        return _LEFT + _WIDTH * (math.log10(figure) - self._low) / (self._high - self._low)

    def middle(self, row: int) -> float:
        return self._top + _ROW * row + _ROW / 2

    def row(self, row: int, name: str) -> str:
        y = self.middle(row)
        return (
            f'<text x="{_LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(name)}</text>\n'
            f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y}" y2="{y}" stroke="#eeeeee"/>'
        )

    def lines(self, title: str) -> str:
        lines = []
        for power in range(self._low, self._high + 1):
            x, colour = self.place(10.0**power), "#333333" if power == 0 else "#cccccc"
            lines.append(f'<line x1="{x}" x2="{x}" y1="{self._top}" y2="{self._bottom}" stroke="{colour}"/>')
            lines.append(_middle(x, self._bottom + 16, f"{10.0**power:g}"))
        return "\n".join([*lines, _middle(_LEFT + _WIDTH / 2, self._bottom + 34, title)])

    def document(self, parts: Iterable[str]) -> str:
        width, height = _LEFT + _WIDTH + _RIGHT, self._bottom + 40
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">\n'
            f'<rect width="{width}" height="{height}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
        )


def _middle(x: float, y: float, text: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="middle">{escape(text)}</text>'


def _mark(x: float, y: float, index: int, title: str) -> str:
    colour = _COLOURS[index % len(_COLOURS)]
    # More peers than colours: the second time round as rings.
    fill = colour if index < len(_COLOURS) else "white"
    return (
        f'<circle cx="{x:.1f}" cy="{y}" r="{_RADIUS}" fill="{fill}" fill-opacity="0.85" stroke="{colour}">'
        f"<title>{escape(title)}</title></circle>"
    )


def _legend(index: int, peer: str) -> str:
    x, y = 20 + 185 * (index % _LEGEND_COLUMNS), 20 + _LEGEND_ROW * (index // _LEGEND_COLUMNS)
    return _mark(x, y, index, peer) + f'<text x="{x + 10}" y="{y + 4}">{escape(peer)}</text>'
