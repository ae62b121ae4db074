"""A profile for people who read: one Markdown page, from the compiled profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.profiles.durations import duration_name
from gateway.profiles.fields import raw_field, window_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.profiles.plan import GroupPlan, ProfilePlan, QuantityPlan


def reference(plans: Iterable[ProfilePlan]) -> str:
    """Return the Markdown of the profiles: topics, quantities, what is written, what is asked."""
    pages = ("\n".join(_page(plan)) for plan in plans)
    return "\n".join(["# Device profiles", "", *pages])


def _page(plan: ProfilePlan) -> Iterator[str]:
    yield from (f"## {plan.name}, version {plan.version}", "")
    yield from _facts(plan)
    yield from ("", "### Quantities", "")
    heads = ("quantity", "kind", "unit", "by", "read from", "believable")
    yield from _table(heads, [_quantity(one, group) for group in plan.groups for one in group.quantities])
    yield from ("", "### Written", "")
    windows = ", ".join(f"`{plan.family}_{window.name}`" for window in plan.windows)
    yield from _table(
        ("quantity", f"in `{plan.family}`", f"in {windows}"),
        [_written(one) for group in plan.groups for one in group.quantities],
    )
    if plan.parameters:
        yield from ("", "### Asked of the installation", "")
        yield from _table(("parameter", "unit", "default", "range"), list(_parameters(plan)))
    yield ""


def _facts(plan: ProfilePlan) -> Iterator[str]:
    yield f"- family: `{plan.family}`"
    yield f"- topics: {', '.join(f'`{topic}`' for topic in plan.topics)}"
    yield f"- format: {plan.format}"
    yield f"- time: {f'`{plan.time.path}`, {plan.time.unit}' if plan.time else 'when it is received'}"
    if plan.every_ns:
        yield f"- a device reports every {duration_name(plan.every_ns)}"
    yield f"- windows can be corrected for {duration_name(plan.lateness_ns)}"
    yield f"- personal data: {'yes' if plan.privacy == 'personal' else 'no'}"
    if plan.keep:
        kept = (f"{what} for {duration_name(length)}" for what, length in plan.keep.items())
        yield f"- kept: {', '.join(kept)}"


def _quantity(quantity: QuantityPlan, group: GroupPlan) -> tuple[str, ...]:
    source = f"`= {quantity.expression.text}`" if quantity.expression else f"`{quantity.path}`"
    span = quantity.fail_range
    return (
        quantity.name,
        ", ".join((quantity.kind, *quantity.states)),
        quantity.unit if quantity.unit != "1" else "",
        ", ".join(group.dimensions),
        source,
        f"{span[0]:g} to {span[1]:g}" if span else "",
    )


def _written(quantity: QuantityPlan) -> tuple[str, ...]:
    name, kind = raw_field(quantity)
    return (
        quantity.name,
        f"`{name}` ({kind})",
        ", ".join(f"`{field}`" for field, _ in window_fields(quantity)),
    )


def _parameters(plan: ProfilePlan) -> Iterator[tuple[str, ...]]:
    for parameter in plan.parameters.values():
        default = "must be given" if parameter.default is None else f"{parameter.default:g}"
        ends = (parameter.minimum, parameter.maximum)
        span = " to ".join("…" if end is None else f"{end:g}" for end in ends) if ends != (None, None) else ""
        yield (
            parameter.name,
            parameter.unit if parameter.unit != "1" else "",
            default,
            span,
        )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(text.replace('|', chr(92) + '|') for text in row)} |"
