"""Decoders under a stated number of mutated payloads: none raises, and each uplink ends in one place.

The seeds of the mutations are what the simulated devices send; the profiles are those that are shipped. What
hypothesis makes up on top of it is in tests/properties/test_decode.py.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from firmware_sim.city import city
from firmware_sim.faults import Rates
from firmware_sim.fleet import Fleet
from firmware_sim.model import Message, Span
from gateway.decode.decoder import decode
from gateway.decode.identity import Identities
from tests.chaos.outcome import Outcome
from tests.decode.plans import RECEIVED, batch, device, routes, shipped

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.chaos.outcome import Scenario

TOGETHER = 50
"""Payloads in a batch: good ones stand beside bad ones."""
SEEDS = 2_000
TOKENS = (
    *(b"null", b"true", b"1e999", b"-0.0", b"NaN", b"Infinity", b"9223372036854775808", b"1e-400", b'""'),
    *(
        b"[]",
        b"{}",
        b"[[[[[[[[[[",
        b'{"a":',
        b"\\ud800",
        b'"\\u0000"',
        b"\xff\xfe",
        b"\x00",
        b",",
        b":",
        b'"',
    ),
)


def fuzz(rng: random.Random, inputs: int) -> Outcome:
    """Decode so many mutated payloads. `lost`: uplinks that ended nowhere; `doubled`: in two places."""
    specs = Fleet.of(30).specs(1)
    known = [
        device(spec.id, site=spec.site, profile=spec.profile, parameters=dict(spec.parameters))
        for spec in specs
    ]
    plans = routes(*map(shipped, ("bin-level", "traffic-counter", "water-meter")), devices=known)
    span = Span(seed=1, origin_ns=RECEIVED, start_ns=RECEIVED)
    life = (item for item in city(specs, span, Rates.of(0.02)) if isinstance(item, Message))
    seeds = [(item.topic, item.payload) for item in islice(life, SEEDS)]
    identities = Identities()
    lost = doubled = 0
    for first in range(0, inputs, TOGETHER):
        sent = [_mutated(rng, seeds) for _ in range(min(TOGETHER, inputs - first))]
        decoded = decode(batch(*sent, received=RECEIVED + first), plans, identities)
        ends = {int(index) for one in decoded.readings for index in one.uplink}
        whole = [rejection.index for rejection in decoded.rejections if rejection.readings == 0]
        others = [*whole, *decoded.duplicates.tolist(), *decoded.ignored.tolist()]
        lost += len(set(range(len(sent))) - ends - set(others))
        doubled += len(others) - len(set(others) - ends)
    return Outcome(inputs, inputs, lost, doubled)


def _mutated(rng: random.Random, seeds: Sequence[tuple[str, bytes]]) -> tuple[str, bytes]:
    """Return a topic with a payload that was hurt up to four times; one in eight is as it was."""
    topic, payload = rng.choice(seeds)
    if rng.random() < 0.125:
        return topic, payload
    hurt = bytearray(payload)
    for _ in range(rng.randint(1, 4)):
        rng.choice(MUTATIONS)(rng, hurt, rng.choice(seeds)[1])
    return topic, bytes(hurt)


def _flip(rng: random.Random, hurt: bytearray, other: bytes) -> None:
    del other
    if hurt:
        hurt[rng.randrange(len(hurt))] ^= 1 << rng.randrange(8)


def _cut(rng: random.Random, hurt: bytearray, other: bytes) -> None:
    del other
    begin, end = sorted(rng.randint(0, len(hurt)) for _ in range(2))
    del hurt[begin:end]


def _splice(rng: random.Random, hurt: bytearray, other: bytes) -> None:
    begin, end = sorted(rng.randint(0, len(other)) for _ in range(2))
    at = rng.randint(0, len(hurt))
    hurt[at:at] = other[begin:end]


def _repeat(rng: random.Random, hurt: bytearray, other: bytes) -> None:
    del other
    begin, end = sorted(rng.randint(0, len(hurt)) for _ in range(2))
    hurt[begin:begin] = hurt[begin:end] * rng.randint(1, 20)


def _token(rng: random.Random, hurt: bytearray, other: bytes) -> None:
    """Put what parsers dislike in the place of a value, or anywhere."""
    del other
    places = [at for at, byte in enumerate(hurt) if byte in b":[,"]
    at = rng.choice(places) + 1 if places and rng.random() < 0.8 else rng.randint(0, len(hurt))
    end = at
    while end < len(hurt) and hurt[end] not in b",}]":
        end += 1
    hurt[at : end if rng.random() < 0.8 else at] = rng.choice(TOKENS)


MUTATIONS: tuple[Callable[[random.Random, bytearray, bytes], None], ...] = (
    _flip,
    _cut,
    _splice,
    _repeat,
    _token,
)


def _many(folder: Path, rng: random.Random) -> Outcome:
    del folder
    return fuzz(rng, 500_000)


SCENARIOS: dict[str, Scenario] = {"mutated payloads": _many}
