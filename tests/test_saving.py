"""What a checkpoint remembers beside the cells: it comes back as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import saving
from gateway.books import Books
from gateway.journal.checkpoint import Checkpoint
from gateway.model import Changes
from gateway.roster import Roster
from gateway.rules import Rules
from gateway.saving import Cut
from gateway.suspicion import Corrections
from tests.decode.plans import batch
from tests.river import DEVICES, LIMITS, PLANS

if TYPE_CHECKING:
    from pathlib import Path

import numpy as np

from gateway.decode.identity import Identities
from gateway.decode.rates import Rates
from gateway.literals import Rate

CUT = Cut(
    position=12,
    connection=3,
    filters=("city/+/bin/+/up",),
    marks={"lines": {"end": 7, "cursors": {"influx": 5}}, "quarantine": {}},
    corrections=Corrections(((4, -5), (9, 3_600 * 10**9)), 14),
)


def test_at_the_very_start_there_is_nothing(tmp_path: Path) -> None:
    """Position 0, empty rules, empty books."""
    store = Checkpoint.open_newest_sound(tmp_path)
    saved = saving.restore(store)
    store.close()
    assert saved.cut == Cut()
    assert saved.rules == Rules()
    assert saved.books == Books()
    assert saved.accepted == []
    assert saved.rates.limit is None


def test_everything_comes_back(tmp_path: Path) -> None:
    """Through the checkpoint's file; rules stay where they did not change."""
    books = Books(late=2, windows=5, corrections=1, not_delivered=1)
    books.uplinks.journalled = books.uplinks.decoded = 9
    books.reasons.update(["not json", "not json", "too old"])
    identities = Identities()
    uplink = batch(("t/s/d", b"x"), packet_ids=[5], headers=[0x32])
    again = batch(("t/s/d", b"x"), packet_ids=[5], headers=[0x3A])
    place, device = np.array([0], dtype=np.int64), [("s", "d")]
    assert not identities.duplicates(uplink, place, device, [4])[0]
    rates = Rates()
    rates.use(Rate(5, 10**9))
    rates.judge(np.zeros(3, np.int64), np.zeros(3, np.int32), device)
    store = Checkpoint.open_newest_sound(tmp_path)
    for rules in (Rules(plans=PLANS, devices=Roster.of(DEVICES.values()), limits=LIMITS), None):
        meta = saving.encode(
            CUT,
            books=books,
            rules=rules,
            identities=identities,
            rates=rates,
            accepted=[("lyon", "stranger")],
        )
        cells = saving.device_cells(rules.devices, Roster()) if rules else {}
        store.commit(Changes(cells), meta)
    store.close()
    store = Checkpoint.open_newest_sound(tmp_path)
    saved = saving.restore(store)
    assert store.position == CUT.position
    store.close()
    assert saved.cut == CUT
    assert saved.books == books
    assert saved.rules.devices == DEVICES
    assert saved.rules.limits == LIMITS
    assert {name: plan.text for name, plan in saved.rules.plans.items()} == {
        name: plan.text for name, plan in PLANS.items()
    }
    assert saved.accepted == [("lyon", "stranger")]
    assert saved.rates.state() == rates.state()
    assert saved.identities.duplicates(again, place, device, [9])[0]
