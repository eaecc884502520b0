"""The ratios as a drawing: a row for each kernel, a mark for each peer, on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

Point = tuple[str, str, float]

_COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#edae49", "#6f4e9b", "#00798c", "#8d5524", "#555555", "#e377c2")
_ROW, _LEFT, _WIDTH, _TOP = 26, 120, 760, 60
_RADIUS = 5


def draw(points: Sequence[Point]) -> str:
    """An SVG document. `points` are kernel, peer and ratio, which is positive."""
    kernels = list(dict.fromkeys(kernel for kernel, _, _ in points))
    peers = list(dict.fromkeys(peer for _, peer, _ in points))
    low, high = _decades([ratio for _, _, ratio in points])
    bottom = _TOP + _ROW * len(kernels)

    def place(ratio: float) -> float:
        return _LEFT + _WIDTH * (math.log10(ratio) - low) / (high - low)

    parts = [_axis(place, low, high, bottom)]
    for row, kernel in enumerate(kernels):
        y = _TOP + _ROW * row + _ROW / 2
        parts.append(f'<text x="{_LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(kernel)}</text>')
        parts.append(f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y}" y2="{y}" stroke="#eeeeee"/>')
        for name, peer, ratio in points:
            if name == kernel:
                parts.append(_mark(place(ratio), y, peers.index(peer), f"{kernel}, {peer}: {ratio:.3g}"))
    parts += [_legend(index, peer) for index, peer in enumerate(peers)]
    width, height = _LEFT + _WIDTH + 30, bottom + 40
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="{width}" height="{height}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _decades(ratios: Sequence[float]) -> tuple[int, int]:
    """The powers of ten around the values and around 1."""
    logarithms = [math.log10(ratio) for ratio in ratios] or [0.0]
    low = min(math.floor(min(logarithms)), -1)
    return low, max(math.ceil(max(logarithms)), 1)


def _axis(place: Callable[[float], float], low: int, high: int, bottom: int) -> str:
    lines = []
    for power in range(low, high + 1):
        x, colour = place(10.0**power), "#333333" if power == 0 else "#cccccc"
        lines.append(f'<line x1="{x}" x2="{x}" y1="{_TOP}" y2="{bottom}" stroke="{colour}"/>')
        lines.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{10.0**power:g}</text>')
    middle = _LEFT + _WIDTH / 2
    title = "processor time relative to wasm3 (the reference where wasm3 cannot run the kernel)"
    lines.append(f'<text x="{middle}" y="{bottom + 34}" text-anchor="middle">{title}</text>')
    return "\n".join(lines)


def _mark(x: float, y: float, index: int, title: str) -> str:
    colour = _COLOURS[index % len(_COLOURS)]
    # More peers than colours: the second time round as rings.
    fill = colour if index < len(_COLOURS) else "white"
    return (
        f'<circle cx="{x:.1f}" cy="{y}" r="{_RADIUS}" fill="{fill}" fill-opacity="0.85" stroke="{colour}">'
        f"<title>{escape(title)}</title></circle>"
    )


def _legend(index: int, peer: str) -> str:
    x, y = _LEFT + 150 * (index % 5), 20 + 20 * (index // 5)
    return _mark(x, y, index, peer) + f'<text x="{x + 10}" y="{y + 4}">{escape(peer)}</text>'
