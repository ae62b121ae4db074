"""What is looked for in files afterwards: names that are telling, and payloads in nobody's rows."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest

from gateway.erasure.records import Uplink
from gateway.erasure.search import Search
from gateway.erasure.target import Belonging, Target
from gateway.model import Frames
from gateway.roster import Roster
from gateway.rules import Rules
from tests.ingest.peer import Message
from tests.river import DEVICES, PLANS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

RULES = Rules(plans=PLANS, devices=Roster.of(DEVICES.values()))
SAID = b'{"ts": 1795341600000, "dist_mm": 931}'


def belonging(site: str, device: str, *uplinks: Uplink) -> Belonging:
    """Return whose something is, having erased some uplinks."""
    found = Belonging(Target(site, device), rules=RULES)
    for topic, payload in uplinks:
        frame = Message(topic.decode(), payload).frame(5)
        assert found.without(1, Frames("broker", 1, "ecluse", 5, 1, 1, frame)) is not None
    return found


def left(folder: Path, content: bytes, search: Search) -> str:
    path = folder / "file"
    path.write_bytes(content)
    return search.in_file(path, read=lambda _: None)


OTHERS = [("lyon", "bin-2"), ("lyon", "meter-1")]


@pytest.mark.parametrize(
    ("device", "names", "content", "found"),
    [
        ("bin-1", OTHERS, b"lyonbin-1profile", True),
        ("bin-1", OTHERS, b"bin-2", False),
        # Part of another name: only where it can be nothing else.
        ("bin-1", [*OTHERS, ("lyon", "bin-10")], b"lyonbin-10profile", False),
        ("bin-1", [*OTHERS, ("lyon", "bin-10")], b"waste,device=bin-1,profile=x", True),
        ("bin-1", [*OTHERS, ("lyon", "bin-10")], b"waste,device=bin-10,profile=x", False),
        ("bin-1", [*OTHERS, ("lyon", "bin-10")], b'["lyon","bin-1"]', True),
        ("bin-1", [*OTHERS, ("lyon", "bin-10")], b"city/lyon/bin/bin-1/up", True),
        # Not telling by itself, and another site has one of that name.
        ("1", [("nice", "1")], b'["nice","1"] 1 device=1,', False),
        ("1", OTHERS, b"1", False),
        ("1", OTHERS, b'["lyon","1"]', True),
    ],
)
def test_names(
    tmp_path: Path, device: str, names: Iterable[tuple[str, str]], content: bytes, *, found: bool
) -> None:
    """The identifier itself where it is telling, else what only this device can have."""
    topic = f"city/lyon/bin/{device}/up".encode()
    search = Search(belonging("lyon", device, Uplink(topic, b"{}")), names)
    assert bool(left(tmp_path, content, search)) is found
    assert bool(left(tmp_path, b"x" * (16 << 20) + content, search)) is found
    assert bool(left(tmp_path, b"x" * ((16 << 20) - 2) + content, search)) is found


def test_payloads_of_others_that_are_the_same_stay(tmp_path: Path) -> None:
    """In rows that are there; what stands in a free page is found."""
    search = Search(belonging("lyon", "bin-1", Uplink(b"city/lyon/bin/bin-1/up", SAID)), OTHERS)
    path = tmp_path / "rows.db"
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA secure_delete=OFF")
        file.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, body BLOB)")
        file.executemany("INSERT INTO rows (body) VALUES (?)", [(SAID,), (b"of bin-2: " + SAID,)])
        file.commit()
        assert search.in_file(path, read=lambda _: None) == ""
        file.execute("DELETE FROM rows WHERE id = 1")
        file.commit()
    assert "something that the device said" in search.in_file(path, read=lambda _: None)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("VACUUM")
    assert search.in_file(path, read=lambda _: None) == ""


def test_a_file_that_is_gone_or_empty(tmp_path: Path) -> None:
    """Trimmed meanwhile; a lock's file."""
    search = Search(belonging("lyon", "bin-1"), OTHERS)
    assert search.in_file(tmp_path / "gone", read=lambda _: None) == ""
    assert left(tmp_path, b"", search) == ""


@pytest.mark.parametrize(
    ("topic", "theirs"),
    [
        (b"city/lyon/bin/bin-1/up", True),
        (b"city/lyon/bin/bin-10/up", False),
        (b"city/nice/bin/bin-1/up", False),
        (b"old/lyon/bin-1", True),
        (b"old/nice/bin-1", False),
        (b"never/heard/of/bin-1", True),
        (b"never/nice/of/bin-1", False),
        (b"bin/bin-1\xff/up", False),
    ],
)
def test_whose_a_topic_is(topic: bytes, *, theirs: bool) -> None:
    """By the profiles in force, by one of before, by a level that is its name."""
    found = Belonging(Target("lyon", "bin-1"), rules=RULES, others=["lyon", "nice"])
    found.learn("old", ["old/{site}/{device}"])
    assert found.has(topic) is theirs
