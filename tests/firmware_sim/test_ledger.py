"""The ledger gives back what was written, survives a kill, goes on where it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from firmware_sim.ledger import Ledger, key, read
from firmware_sim.model import Happening, Message, Reading

if TYPE_CHECKING:
    from pathlib import Path

ROW = Reading("waste", "lyon", "bin-00001", {}, 5, {"distance": 1234.0, "tilt": "upright"})
LANE = Reading(
    "traffic",
    "lyon",
    "tc-0001",
    {"lane": "1", "direction": "in"},
    7,
    {"occupancy": 110.0},
    failed=("occupancy",),
)


def message(
    payload: bytes = b'{"a":1}', *readings: Reading, fault: str | None = None, expect: str = "stored"
) -> Message:
    return Message(9, "bin-00001", "city/lyon/bin/bin-00001/up", payload, fault, expect, readings)


def test_round_trip(tmp_path: Path) -> None:
    """Messages of any bytes, rows, acknowledgements and happenings are read as they were written."""
    path = tmp_path / "new" / "ledger.jsonl"
    ledger = Ledger(path)
    assert ledger.message(message(b'{"a":"\xc3\xa9"}', ROW, LANE), 11) == 0
    assert (
        ledger.message(message(b"\xff\xfe\x00", fault="not utf-8", expect="quarantined:not utf-8"), 12) == 1
    )
    happening = Happening(20, "leak", "lyon", "wm-00001", 20, 30, {"lph": 12})
    ledger.happening(happening)
    ledger.acknowledged([1, 0])
    ledger.resent([1])
    ledger.end(messages=2, acknowledged=2)
    ledger.close()
    contents = read(path)
    first, second = contents.entries
    assert (first.n, first.payload, first.readings) == (0, b'{"a":"\xc3\xa9"}', (ROW, LANE))
    assert (first.due_ns, first.published_ns, first.fault) == (9, 11, None)
    assert (second.payload, second.fault, second.expect) == (
        b"\xff\xfe\x00",
        "not utf-8",
        "quarantined:not utf-8",
    )
    assert contents.acknowledged == {0, 1}
    assert contents.resent == {1}
    assert contents.happenings == [happening]
    assert contents.ended
    assert contents.expectations() == {"stored": 1, "quarantined:not utf-8": 1}


def test_rows_are_told_once(tmp_path: Path) -> None:
    """Rows are united by identity; of two values of one field the first stands."""
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    again = Reading("waste", "lyon", "bin-00001", {}, 5, {"distance": 1.0, "rssi": -90.0})
    ledger.message(message(b"{}", ROW), 1)
    ledger.message(message(b"{}", again, LANE), 2)
    ledger.close()
    assert read(path).rows() == {
        key(ROW): {"distance": 1234.0, "tilt": "upright", "rssi": -90.0},
        key(LANE): {"occupancy": 110.0},
    }


def test_a_line_cut_short_is_left_out_and_mended(tmp_path: Path) -> None:
    """After a kill the unfinished line is not read; the next run cuts it off and numbers on."""
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    for _ in range(3):
        ledger.message(message(), 1)
    ledger.close()
    path.write_bytes(path.read_bytes()[:-10])
    assert [entry.n for entry in read(path).entries] == [0, 1]
    again = Ledger(path)
    assert again.message(message(), 2) == 2
    again.close()
    assert [entry.n for entry in read(path).entries] == [0, 1, 2]


def test_flushed_lines_are_visible_to_others(tmp_path: Path) -> None:
    """After `flush` another reader sees the line: it survives the writer's death."""
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.message(message(), 1)
    ledger.flush()
    assert len(read(path).entries) == 1
    ledger.close()


def test_unknown_lines_are_refused(tmp_path: Path) -> None:
    """A file with lines of another kind is no ledger."""
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"kind":"shopping"}\n')
    with pytest.raises(ValueError, match="unknown kind"):
        read(path)
