"""Tests for journal records as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.journal import records
from gateway.model import Control, ControlKind, Frames

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
RECORDS = FRAMES | CONTROLS


@given(position=SIGNED, record=RECORDS)
def test_decoding_gives_what_was_encoded(position: int, record: Frames | Control) -> None:
    """Every field comes back equal."""
    assert records.decode(position, records.encode(position, record)) == record


@given(position=SIGNED, record=RECORDS, data=st.data())
def test_any_flipped_bit_is_found(position: int, record: Frames | Control, data: st.DataObject) -> None:
    """No altered blob is taken for a record."""
    blob = bytearray(records.encode(position, record))
    bit = data.draw(st.integers(0, len(blob) * 8 - 1))
    blob[bit // 8] ^= 1 << bit % 8
    with pytest.raises(records.Damaged):
        records.decode(position, bytes(blob))


@given(record=RECORDS, data=st.data())
def test_any_shortened_blob_is_found(record: Frames | Control, data: st.DataObject) -> None:
    """A torn blob is no record."""
    blob = records.encode(3, record)
    with pytest.raises(records.Damaged):
        records.decode(3, blob[: data.draw(st.integers(0, len(blob) - 1))])


@given(record=RECORDS)
def test_a_sound_blob_in_another_place_is_found(record: Frames | Control) -> None:
    """The checksum covers the position."""
    with pytest.raises(records.Damaged):
        records.decode(8, records.encode(7, record))


def test_an_unknown_kind_is_damage() -> None:
    """A checksum that matches does not make an unknown kind readable."""
    parts = (bytes([9, 0, 0]),)
    blob = records._CRC.pack(records._checksum(1, parts)) + parts[0]
    with pytest.raises(records.Damaged, match="kind 9"):
        records.decode(1, blob)
