"""Tests for journal records as bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.journal import records
from gateway.model import Control, ControlKind, Frames, Readmitted

if TYPE_CHECKING:
    from gateway.model import Record

SIGNED = st.integers(-(2**63), 2**63 - 1)
FRAMES = st.builds(
    Frames,
    source=st.text(max_size=20),
    connection=st.integers(0, 2**64 - 1),
    session=st.text(max_size=20),
    protocol=st.sampled_from([4, 5]),
    received_ns=SIGNED,
    count=st.integers(0, 2**32 - 1),
    frames=st.binary(max_size=200),
)
CONTROLS = st.builds(Control, st.sampled_from(ControlKind), SIGNED, st.binary(max_size=200))
READMITTED = st.builds(
    Readmitted,
    at_ns=SIGNED,
    origin=SIGNED,
    received_ns=SIGNED,
    places=st.lists(st.integers(0, 2**32 - 1), max_size=9).map(tuple),
    frames=st.binary(max_size=200),
)
RECORDS = FRAMES | CONTROLS | READMITTED


@given(position=SIGNED, record=RECORDS)
def test_decoding_gives_what_was_encoded(position: int, record: Record) -> None:
    """Every field comes back equal."""
    assert records.decode(position, records.encode(position, record)) == record


@given(position=SIGNED, record=RECORDS, data=st.data())
def test_any_flipped_bit_is_found(position: int, record: Record, data: st.DataObject) -> None:
    """No altered blob is taken for a record."""
    blob = bytearray(records.encode(position, record))
    bit = data.draw(st.integers(0, len(blob) * 8 - 1))
    blob[bit // 8] ^= 1 << bit % 8
    with pytest.raises(records.Damaged):
        records.decode(position, bytes(blob))


@given(record=RECORDS, data=st.data())
def test_any_shortened_blob_is_found(record: Record, data: st.DataObject) -> None:
    """A torn blob is no record."""
    blob = records.encode(3, record)
    with pytest.raises(records.Damaged):
        records.decode(3, blob[: data.draw(st.integers(0, len(blob) - 1))])


@given(record=RECORDS)
def test_a_sound_blob_in_another_place_is_found(record: Record) -> None:
    """The checksum covers the position."""
    with pytest.raises(records.Damaged):
        records.decode(8, records.encode(7, record))


def test_an_unknown_kind_is_damage() -> None:
    """A checksum that matches does not make an unknown kind readable."""
    parts = (bytes([9, 0, 0]),)
    blob = records._CRC.pack(records._checksum(1, parts)) + parts[0]
    with pytest.raises(records.Damaged, match="kind 9"):
        records.decode(1, blob)


def test_what_a_record_says_of_itself() -> None:
    """Its time is when it was made, not when its uplinks first came; control holds no uplinks."""
    frames = Frames("broker", 1, "ecluse", 5, 7, 3, b"")
    again = Readmitted(at_ns=9, origin=1, received_ns=7, places=(0, 4), frames=b"")
    control = Control(ControlKind.SETTINGS, 8, b"{}")
    said = [(records.time_ns(record), records.uplinks(record)) for record in (frames, control, again)]
    assert said == [(7, 3), (8, 0), (9, 2)]


def test_a_record_as_it_was_written_first_is_read() -> None:
    """Behind the checksum the bytes of frames and control are what they always were."""
    frames = Frames("b", 1, "e", 5, 7, 2, bytes.fromhex("3003000174"))
    written = "01 0700000000000000 0100000000000000 05 02000000 0100 0100 62 65 3003000174"
    assert records.encode(3, frames)[4:] == bytes.fromhex(written)
    control = Control(ControlKind.DEVICES, 7, b"{}")
    assert records.encode(3, control)[4:] == b"\x02\x07" + bytes(7) + b"\x07\x00devices{}"
