"""The figures for people: tables in Markdown; medians, with least and greatest in parentheses. Pure."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from tests.benchmarks.figures import Spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Figures = Mapping[str, Any]

_NAMES = {
    "gateway_cpu_us_per_msg": "CPU of the gateway, µs/msg",
    "reference_cpu_us_per_msg": "CPU of the usual gateway, µs/msg",
    "ratio_to_reference": "usual gateway ÷ Écluse, CPU a message",
    "gateway_messages_per_s": "the gateway, messages/s",
    "reference_messages_per_s": "the usual gateway, messages/s",
    "broker_limit_qos1_messages_per_s": "the broker's limit, QoS 1, messages/s",
    "broker_limit_qos0_messages_per_s": "the broker's limit, QoS 0, messages/s",
    "share_of_broker_limit_qos1": "share of the broker's limit, QoS 1",
    "share_of_broker_limit_qos0": "share of the broker's limit, QoS 0",
    "null_subscriber_cpu_us_per_msg": "CPU of the null subscriber, µs/msg",
    "broker_cpu_us_per_msg": "CPU of the broker, µs/msg",
    "sink_cpu_us_per_msg": "CPU of the null sink, µs/msg",
    "generator_cpu_us_per_msg": "CPU of the generator, µs/msg",
    "gateway_peak_mb": "most memory of the gateway, MB",
    "reference_peak_mb": "most memory of the usual gateway, MB",
    "readings_per_window": "readings a device and 15 min (5 are asked for)",
    "window_lines_per_msg": "points of windows a message",
}
_COLUMNS = {
    "gateway_cpu_us_per_msg": "gateway µs/msg",
    "messages_per_s": "messages/s",
    "broker_cpu_us_per_msg": "broker µs/msg",
    "sink_cpu_us_per_msg": "sink µs/msg",
    "gateway_peak_mb": "memory MB",
    "share_of_broker_limit": "of the limit",
    "readings_per_window": "readings a window",
    "reference_cpu_us_per_msg": "usual gateway µs/msg",
    "ratio_to_reference": "ratio",
}
_MET = {True: "met", False: "**not met**", None: "–"}


def markdown(found: Figures) -> str:
    """Return the whole report."""
    return f"# Écluse, measured {found['at']}\n\n{tables(found)}"


def tables(found: Figures) -> str:
    """Return everything but the title."""
    parts = (_where, _headline, _requirements, _lacks, _varied, _stages, _extras, _honesty)
    return "\n\n".join(text for part in parts if (text := "\n".join(part(found)))) + "\n"


def _where(found: Figures) -> list[str]:
    machine = found["machine"]
    told = (
        f"{machine['cpu']}, {machine['cores']} cores, kernel {machine['kernel']}, Python "
        f"{machine['python']}, {machine['mosquitto']}. Workload version {found['workload_version']}; "
        f"{found['seconds'] / 60:.1f} min. Medians of paired rounds, least and greatest in parentheses."
    )
    return [told]


def _headline(found: Figures) -> list[str]:
    rows = (
        (name, str(Spread(**found["spread"][key]))) for key, name in _NAMES.items() if key in found["spread"]
    )
    return _table(("headline: 10,000 devices, QoS 1, at the broker's saturation", ""), rows)


def _requirements(found: Figures) -> list[str]:
    rows = ((one["what"], one["asked"], one["found"], _MET[one["met"]]) for one in found["requirements"])
    return _table(("what is asked", "bound", "found", "met"), rows)


def _lacks(found: Figures) -> list[str]:
    if "ratio_to_reference" not in found["spread"]:
        return []
    return ["What the usual gateway does not do:", "", *(f"- {what}" for what in found["reference_lacks"])]


def _varied(found: Figures) -> list[str]:
    groups = found["varied"]
    if not groups:
        return []
    used = {key: name for key, name in _COLUMNS.items() if any(key in group for group in groups)}
    rows = (
        (group["workload"], *(str(Spread(**group[key])) if key in group else "–" for key in used))
        for group in groups
    )
    late = [
        (
            group["workload"],
            what,
            *(f"{1_000 * said[key]:,.0f}" for key in ("p50_s", "p99_s", "max_s")),
            f"{said['samples']:,}",
        )
        for group in groups
        for what, said in group["latency"].items()
        if said
    ]
    lines = _table(("workload", *used.values()), rows)
    if late:
        lines += ["", *_table(("latency", "", "p50 ms", "p99 ms", "most ms", "of"), late)]
    return lines


def _stages(found: Figures) -> list[str]:
    stages = found["stages_us_per_msg"]
    if not stages:
        return []
    rows = [(name, f"{us:.3f}") for name, us in sorted(stages.items(), key=lambda item: -item[1])]
    return _table(("stage, offline", "µs/msg"), [*rows, ("all", f"{found['stages_total_us_per_msg']:.3f}")])


def _extras(found: Figures) -> list[str]:
    lines: list[str] = []
    for name, figures in found["extras"].items():
        rows = ((what, _cell(value)) for what, value in _flat(figures))
        lines += [*([""] if lines else []), *_table((name, ""), rows)]
    return lines


def _flat(figures: Mapping[str, Any], inside: str = "") -> list[tuple[str, Any]]:
    """Return (name, value) of a tree of figures."""
    found: list[tuple[str, Any]] = []
    for name, value in figures.items():
        told = f"{inside}{name}".replace("_", " ")
        found += _flat(value, f"{told}: ") if isinstance(value, dict) else [(told, value)]
    return found


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _honesty(found: Figures) -> list[str]:
    lines = ["Honesty:", ""]
    lines += [f"- **{problem}**" for problem in found["problems"]] or [
        "- counts in = counts out in every round"
    ]
    outside, again = found["rounds_outside_readings_per_window"], found["rounds_run_again"]
    lines.append(f"- rounds outside 10 % of five readings a window: {outside}; run again: {again}")
    elsewhere = [one["cores"]["else"] for one in found["rounds"]]
    lines.append(
        f"- cores busy with what is no part of a round: {statistics.median(elsewhere):.2f} "
        f"(at most {max(elsewhere):.2f})"
    )
    differences = (found["oracle"] or {"differences": ()})["differences"]
    return lines + [f"- **differs from the oracle: {what}**" for what in differences]


def _table(head: Sequence[str], rows: Any) -> list[str]:
    """Return a table whose columns but the first are figures."""
    return [
        f"| {' | '.join(head)} |",
        f"|---{'|---:' * (len(head) - 1)}|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
