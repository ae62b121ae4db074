"""From a register's readings to increments: rollover, reset, reverse flow and swap told apart.

Δ = new − old over Δt; M is the register's modulus (0: it never rolls over). Three explanations of a
pair of readings compete, each with the flow that it needs:

    forward   f = (new − old) mod M      (f = Δ where there is no modulus, and then Δ ≥ 0 only)
    backward  b = −Δ, or M − Δ across zero; only where the profile says `reverse: flag`
    from zero z = new                    the register began again at zero since the old reading

An explanation is *plausible* where its flow is at most the capacity c = max_flow · Δt + 1 (one step
of the register, which counts whole units: 1 L may fall between two readings a second apart). Without
a `max_flow`, c = M / 2; without a modulus either, every flow is.

| case     | when (the first line that fits)                                   | increment | flag    |
|----------|-------------------------------------------------------------------|-----------|---------|
| NORMAL   | Δ ≥ 0 and Δ plausible                                             | Δ         | as is   |
| ROLLOVER | Δ < 0, f plausible, and not (b plausible and b < f)               | f         | as is   |
| REVERSE  | b plausible, and Δ ≥ 0 or z implausible or b ≤ z                  | −b        | SUSPECT |
| RESET    | Δ < 0 and z plausible                                             | z         | SUSPECT |
| SWAP     | nothing explains it: another meter, another register              | 0         | SUSPECT |

Where two explanations are plausible the one that needs less flow is taken, but a rollover goes
before a reset, which always needs less: only `max_flow` tells these two apart. A small decrease is
backflow, never a rollover: nearly a whole turn of the register is not plausible. After a RESET what
flowed between the old reading and the reset is not known and not invented.

A late reading between two others splits the increment of NORMAL and ROLLOVER and leaves the total
as it was, as long as less than half a turn lies between the outer two and each part is plausible by
itself. Where a part is not (a jump that the longer span had hidden), it becomes a SWAP, and is flagged.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gateway.model import Bool, Float64, UInt8
    from gateway.profiles.plan import CounterPlan

_REGISTER_STEP = 1.0
_ROUNDING = 1.0 + 1e-9
"""3.125 m³/h are 0.8680… L/s: an hour of it must be 3,125 L and not a hair less."""


class Case(IntEnum):
    """What happened between two readings of a register."""

    NORMAL = 0
    ROLLOVER = 1
    RESET = 2
    REVERSE = 3
    SWAP = 4


def increments(
    previous: Float64, new: Float64, dt_s: Float64, plan: CounterPlan, max_flow: Float64 | float | None
) -> tuple[Float64, UInt8]:
    """Return the increment float64[n] (quantity's unit) and the `Case` uint8[n] of n pairs of readings.

    `previous`, `new` float64[n]: the register at the two readings; `dt_s` float64[n] > 0: seconds
    between them; `max_flow`: units per second, a number, one a pair (float64[n], NaN where it is
    not known) or None. `plan.max_flow` is not read: `max_flow` is its value for these pairs.
    """
    capacity = _capacity(dt_s, plan.modulus, max_flow)
    delta = new - previous
    ahead = delta >= 0
    increment = np.where(ahead, delta, 0.0)
    case = np.where(ahead & (delta <= capacity), np.uint8(Case.NORMAL), np.uint8(Case.SWAP))
    odd = np.flatnonzero(case)
    if len(odd):
        increment[odd], case[odd] = _explain(delta[odd], new[odd], capacity[odd], plan)
    return increment, case


def is_doubtful(case: UInt8) -> Bool:
    """Tell which cases make the later reading SUSPECT: all but a normal increment and a rollover."""
    doubtful: Bool = case > Case.ROLLOVER
    return doubtful


def _capacity(dt_s: Float64, modulus: float, max_flow: NDArray[np.float64] | float | None) -> Float64:
    """The greatest plausible flow of each pair, float64[n]."""
    unknown = modulus / 2 if modulus > 0 else np.inf
    if max_flow is None:
        return np.full(len(dt_s), unknown)
    capacity = max_flow * dt_s * _ROUNDING + _REGISTER_STEP
    return np.where(np.isnan(capacity), unknown, capacity)


def _explain(delta: Float64, new: Float64, capacity: Float64, plan: CounterPlan) -> tuple[Float64, UInt8]:
    """Explain the pairs that are not NORMAL, by the table's other lines."""
    fell = delta < 0
    rolls = plan.modulus > 0
    forward = delta + plan.modulus if rolls else np.full(delta.shape, np.inf)
    backward = np.where(fell, -delta, plan.modulus - delta if rolls else np.inf)
    # A register beyond its own modulus is none that this profile describes: no turn explains it.
    rollover = fell & (forward >= 0) & (forward <= capacity) & (forward < np.inf)
    reverse = (backward >= 0) & (backward <= capacity) & (backward < np.inf) & (plan.reverse == "flag")
    reset = fell & (new >= 0) & (new <= capacity)
    rollover &= ~(reverse & (backward < forward))
    reverse &= ~rollover & ~(reset & (new < backward))
    reset &= ~rollover & ~reverse
    explanations = [rollover, reverse, reset]
    case = np.select(explanations, [Case.ROLLOVER, Case.REVERSE, Case.RESET], Case.SWAP)
    return np.select(explanations, [forward, -backward, new], 0.0), case.astype(np.uint8)
