"""One run from plan to end: connects, publishes, answers signals, says how it went."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_sim.city import city
from firmware_sim.ledger import Ledger
from firmware_sim.publish import Pool, Publisher, Tally, names, until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from firmware_sim.clock import Pace
    from firmware_sim.connection import Broker
    from firmware_sim.faults import Rates
    from firmware_sim.model import Span, Spec


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be published, how, where to, and until when (event time; None = until stopped)."""

    specs: Sequence[Spec]
    span: Span
    rates: Rates
    pace: Pace
    broker: Broker
    end_ns: int | None = None
    messages: int | None = None
    ledger: Path | None = None
    connections: int = 4
    window: int = 1_000
    patience_s: float = 60.0
    drain_s: float = 30.0


async def perform(plan: Plan, *, say: Callable[[str], None], stop: asyncio.Event) -> Tally:
    """Carry out a plan until its end or until `stop`; return what was done.

    Raises:
        BrokerRefused: no broker, or it does not want us.
        OSError: the ledger cannot be written.
    """
    ledger = Ledger(plan.ledger) if plan.ledger else None
    try:
        publisher = Publisher(pace=plan.pace, ledger=ledger, say=say)
        clients = names([spec.id for spec in plan.specs], seed=plan.span.seed, connections=plan.connections)
        pool = Pool(
            plan.broker,
            clients,
            window=plan.window,
            acknowledged=publisher.acknowledged,
            resent=publisher.resent,
        )
        await pool.start(patience_s=plan.patience_s)
        try:
            items = until(city(plan.specs, plan.span, plan.rates), end_ns=plan.end_ns, messages=plan.messages)
            return await publisher.run(items, pool, stop=stop, drain_s=plan.drain_s)
        finally:
            await pool.close()
    finally:
        if ledger is not None:
            ledger.close()


async def perform_until_signal(plan: Plan, *, say: Callable[[str], None]) -> Tally:
    """Carry out a plan; SIGTERM and SIGINT end it in order: what is in flight is waited for."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        return await perform(plan, say=say, stop=stop)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
