"""What a backup says of itself is believed only where it is what was written."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backup.manifest import Kept, Manifest
from gateway.errors import BackupError

FILES = (Kept("state/state.db", 8192, "ab" * 32), Kept("configuration/devices.csv", 10, "cd" * 32))
WHOLE = Manifest("1.2.3", "2026-11-22T10:00:00Z", 7, 1, 9, FILES, ("set the token anew",))


def test_it_comes_back_as_it_was_written() -> None:
    """Every field."""
    assert Manifest.decode(WHOLE.encode(), where="here") == WHOLE


@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    """Wherever it is: the manifest is read as it was, or refused."""
    text = bytearray(WHOLE.encode())
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] ^= data.draw(st.integers(1, 255))
    read = None
    with contextlib.suppress(BackupError):
        read = Manifest.decode(bytes(text), where="here")
    assert read in (None, WHOLE)


@pytest.mark.parametrize("name", ["../etc/passwd", "/etc/passwd", "state/../../x", "elsewhere/x", "x"])
def test_a_name_outside_of_the_backup_is_refused(name: str) -> None:
    """A manifest that someone made must not write where it likes."""
    evil = replace(WHOLE, files=(Kept(name, 1, "00"),))
    with pytest.raises(BackupError, match="outside"):
        Manifest.decode(evil.encode(), where="here")


def test_a_newer_format_is_named() -> None:
    """With what to do, before its checksum is looked at."""
    body = json.loads(WHOLE.encode()) | {"format": 99}
    with pytest.raises(BackupError, match="format version 99"):
        Manifest.decode(json.dumps(body).encode(), where="here")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"7", b"{}", b'{"sha256": 3, "format": 1}', b"\xff"])
def test_what_is_no_manifest_is_said_to_be_none(text: bytes) -> None:
    """Never a traceback."""
    with pytest.raises(BackupError, match="here"):
        Manifest.decode(text, where="here")
