"""The figures as a chart: SVG with its figures beside the bars, and in words for who cannot see it. Pure."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WIDTH, _ROW, _NAMES, _BARS = 760, 24, 210, 450
_OURS, _OTHERS, _PART = "#0072b2", "#999999", "#e69f00"
"""Of Okabe and Ito's palette, which the colour-blind tell apart; also told apart by lightness."""
_PROCESSES: Final = (
    ("reference_cpu_us_per_msg", "usual Python gateway", _OTHERS),
    ("broker_cpu_us_per_msg", "Mosquitto", _OTHERS),
    ("gateway_cpu_us_per_msg", "Écluse", _OURS),
)
_STAGES: Final = 14
"""So many bars; the smaller ones together are one more."""

Bar = tuple[str, float, str]


def chart(found: Mapping[str, Any]) -> str:
    """Return CPU a message by process, and below, on a scale of its own, by stage of the gateway."""
    processes = [(name, float(found[key]), colour) for key, name, colour in _PROCESSES if found.get(key)]
    panels = [("CPU a message, µs: QoS 1, 10,000 devices, at saturation", processes)]
    if found["stages_us_per_msg"]:
        panels.append(("Stage by stage, µs a message, offline", _stages(found["stages_us_per_msg"])))
    drawn, y = [], 16
    for title, bars in panels:
        drawn.append(_panel(title, bars, y))
        y += 44 + _ROW * len(bars)
    words = escape("; ".join(f"{title}: {_said(bars)}" for title, bars in panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" width="{_WIDTH}" height="{y}" '
        'role="img" aria-labelledby="title words" font-family="system-ui, sans-serif" font-size="13">'
        f'<title id="title">CPU a message of Écluse and of what stands beside it</title>'
        f'<desc id="words">{words}</desc><rect width="{_WIDTH}" height="{y}" fill="#ffffff"/>'
        f"{''.join(drawn)}</svg>\n"
    )


def _stages(stages: Mapping[str, float]) -> list[Bar]:
    ordered = sorted(stages.items(), key=lambda item: -item[1])
    bars = [(name, us, _PART) for name, us in ordered[:_STAGES]]
    rest = [us for _, us in ordered[_STAGES:]]
    return [*bars, (f"{len(rest)} smaller ones", sum(rest), _PART)] if rest else bars


def _said(bars: Sequence[Bar]) -> str:
    return ", ".join(f"{name} {us:.2f}" for name, us, _ in bars)


def _panel(title: str, bars: Sequence[Bar], y: int) -> str:
    most = max((us for _, us, _ in bars), default=1.0)
    drawn = [
        f'<text x="16" y="{y + 16}" font-size="16" font-weight="600" fill="#1a1a1a">{escape(title)}</text>'
    ]
    for number, (name, us, colour) in enumerate(bars):
        top, width = y + 30 + _ROW * number, max(1.0, _BARS * us / most)
        drawn.append(
            f'<text x="{_NAMES}" y="{top + 13}" text-anchor="end" fill="#1a1a1a">{escape(name)}</text>'
            f'<rect x="{_NAMES + 10}" y="{top}" width="{width:.1f}" height="17" fill="{colour}"/>'
            f'<text x="{_NAMES + 16 + width:.1f}" y="{top + 13}" fill="#1a1a1a">{us:.2f}</text>'
        )
    return "".join(drawn)
