"""The figures for people: a table in Markdown, a chart in SVG."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from tests.benchmarks.figures import Spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NAMES = {
    "gateway_cpu_us_per_msg": "CPU of the gateway, µs/msg",
    "reference_cpu_us_per_msg": "CPU of the usual gateway, µs/msg",
    "ratio_to_reference": "usual gateway ÷ Écluse, CPU a message",
    "share_of_broker_limit_qos1": "share of the broker's limit, QoS 1",
    "share_of_broker_limit_qos0": "share of the broker's limit, QoS 0",
    "gateway_messages_per_s": "messages/s",
    "broker_limit_qos1_messages_per_s": "the broker's limit, QoS 1, messages/s",
    "broker_limit_qos0_messages_per_s": "the broker's limit, QoS 0, messages/s",
    "broker_cpu_us_per_msg": "CPU of the broker, µs/msg",
    "gateway_peak_mb": "most memory of the gateway, MB",
    "readings_per_window": "readings a device and 15 min (5 are asked for)",
}


def markdown(found: Mapping[str, Any]) -> str:
    """Return the whole report. Figures are medians, with least and greatest in parentheses."""
    machine = found["machine"]
    where = (
        f"{machine['cpu']}, {machine['cores']} cores, kernel {machine['kernel']}, "
        f"Python {machine['python']}, {machine['mosquitto']}; load average {machine['load_average']:.1f}. "
        f"Workload version {found['workload_version']}. Medians, least and greatest in parentheses."
    )
    lines = [
        f"# Écluse, measured {found['at']}",
        "",
        where,
        "",
        "| headline: 10,000 devices, QoS 1, at the broker's saturation | |",
        "|---|---:|",
        *(f"| {name} | {_spread(found, key)} |" for key, name in _NAMES.items() if key in found["spread"]),
        "",
        *_lacks(found),
        *_others(found["steady"]),
        *_stages(found),
        *_honesty(found),
    ]
    return "\n".join(lines) + "\n"


def _spread(found: Mapping[str, Any], key: str) -> str:
    return str(Spread(**found["spread"][key]))


def _lacks(found: Mapping[str, Any]) -> list[str]:
    if "ratio_to_reference" not in found["spread"]:
        return []
    return [
        "What the usual gateway does not do:",
        "",
        *(f"- {what}" for what in found["reference_lacks"]),
        "",
    ]


def _others(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    if not groups:
        return []
    columns = (
        "gateway_cpu_us_per_msg",
        "messages_per_s",
        "broker_cpu_us_per_msg",
        "sink_cpu_us_per_msg",
        "gateway_peak_mb",
        "share_of_broker_limit",
    )
    lines = [
        "| workload | gateway µs/msg | messages/s | broker µs/msg | sink µs/msg | memory MB | of the limit |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for group in groups:
        cells = [str(Spread(**group[name])) if name in group else "–" for name in columns]
        lines.append(f"| {group['workload']} | {' | '.join(cells)} |")
    for group in groups:
        lines += [f"\n{group['workload']}: {what}" for what in _latency(group["latency"])]
    return [*lines, ""]


def _latency(found: Mapping[str, Any]) -> list[str]:
    told = []
    for name, what in found.items():
        if isinstance(what, dict):
            told.append(
                f"{name} p50 {what['p50_s']:.3f} s, p99 {what['p99_s']:.3f} s, of {what['samples']:,}"
            )
        else:
            told.append(f"{name} {what:.3f} s")
    return told


def _stages(found: Mapping[str, Any]) -> list[str]:
    stages = found["stages_us_per_msg"]
    if not stages:
        return []
    rows = sorted(stages.items(), key=lambda item: -item[1])
    return [
        "| stage, offline | µs/msg |",
        "|---|---:|",
        *(f"| {name} | {us:.3f} |" for name, us in rows),
        f"| all | {found['stages_total_us_per_msg']:.3f} |",
        "",
    ]


def _honesty(found: Mapping[str, Any]) -> list[str]:
    lines = ["Honesty:", ""]
    lines += [f"- **{problem}**" for problem in found["problems"]] or [
        "- counts in = counts out in every round"
    ]
    outside = found["rounds_outside_readings_per_window"]
    lines.append(
        f"- rounds outside 10 % of five readings a window: {outside}; run again: {found['rounds_run_again']}"
    )
    if found["generator_alone_messages_per_s"]:
        lines.append(f"- the generator alone: {found['generator_alone_messages_per_s']:,.0f} messages/s")
    if found["idle_cores"] is not None:
        lines.append(f"- idle: {100 * found['idle_cores']:.2f} % of a core")
    verdict = found["oracle"]
    if verdict:
        what = "; ".join(verdict["differences"]) or "all as computed again"
        lines.append(f"- {verdict['raw']:,} raw points and {verdict['windows']:,} windows compared: {what}")
    return lines


def chart(found: Mapping[str, Any]) -> str:
    """Return bars of CPU a message, as SVG."""
    bars: list[tuple[str, float]] = []
    for key, name in (
        ("reference_cpu_us_per_msg", "usual Python gateway"),
        ("broker_cpu_us_per_msg", "Mosquitto"),
        ("gateway_cpu_us_per_msg", "Écluse"),
    ):
        if found.get(key) is not None:
            bars.append((name, found[key]))
    stages = found["stages_us_per_msg"] or {}
    bars += [(f"· {name}", us) for name, us in sorted(stages.items(), key=lambda item: -item[1])]
    most = max((us for _, us in bars), default=1.0)
    rows = [_bar(number, name, us, most) for number, (name, us) in enumerate(bars)]
    height = 60 + 26 * len(bars)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}" '
        'font-family="sans-serif" font-size="13">'
        f'<rect width="760" height="{height}" fill="white"/>'
        '<text x="16" y="28" font-size="16">CPU a message, µs: QoS 1, 10,000 devices, saturation</text>'
        f"{''.join(rows)}</svg>\n"
    )


def _bar(number: int, name: str, us: float, most: float) -> str:
    y, width = 46 + 26 * number, max(1.0, 440 * us / most)
    colour = "#1f6f8b" if name == "Écluse" else "#b0bec5" if name.startswith("·") else "#78909c"
    return (
        f'<text x="220" y="{y + 14}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="230" y="{y}" width="{width:.1f}" height="18" fill="{colour}"/>'
        f'<text x="{236 + width:.1f}" y="{y + 14}">{us:.2f}</text>'
    )
