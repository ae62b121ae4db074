from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.model import Reason, Refused
from gateway.quarantine.reader import BROKER
from gateway.quarantine.store import QuarantineStore
from tests.cli.command import SHIPPED, ecluse, settings_file

if TYPE_CHECKING:
    from pathlib import Path

RECEIVED_NS = 1_795_342_500_000_000_000


def refused(number: int, payload: bytes, reason: Reason, *, device: str = "b7") -> Refused:
    return Refused(
        position=10,
        index=number,
        received_ns=RECEIVED_NS + number * 60 * 10**9,
        topic=f"city/lyon/bin/{device}/up".encode(),
        payload=payload,
        reason=reason,
        detail="what is [bold]wrong[/]",
        site="lyon",
        device=device,
        profile="bin-level",
    )


ROWS = (
    refused(0, b'{"dist_mm', Reason.NOT_JSON),
    refused(1, b"\xff\xfe\x00" * 20, Reason.NOT_UTF8),
    refused(2, b'{"dist_mm": "\x1b[2J"}', Reason.WRONG_TYPE, device="b8"),
)


async def fill(file: Path) -> None:
    store = await QuarantineStore.open(file, per_device=100, total=1_000)
    await store.put(ROWS)
    await store.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = settings_file(tmp_path)
    asyncio.run(fill(tmp_path / "state" / "quarantine.db"))
    return file


def test_all_that_was_refused(config: Path) -> None:
    """Newest first, with the counts by reason; markup and control characters are shown, not obeyed."""
    shown = ecluse("quarantine", "list", "--config", config).stdout
    assert shown.index("wrong type") < shown.index("not utf-8") < shown.index("not json")
    assert "what is [bold]wrong[/]" in shown
    assert "\x1b" not in shown
    assert shown.count("not json") == 2


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["--reason", "not json"], [1]),
        (["--device", "b8"], [3]),
        (["--site", "lyon", "--profile", "bin-level"], [3, 2, 1]),
        (["--since", "2026-11-22T10:16:00Z"], [3, 2]),
        (["--until", "2026-11-22T10:16:00Z"], [1]),
        (["--limit", "1"], [3]),
        (["--device", "nobody"], []),
    ],
)
def test_some_of_it(config: Path, words: list[str], ids: list[int]) -> None:
    """By reason, device, site, profile, time, number."""
    shown = ecluse("quarantine", "list", *words, "--config", config).stdout
    rows = [line.split("│")[1].strip() for line in shown.splitlines() if line.count("│") == 9]
    assert rows == [str(one) for one in ids]


def test_one_whole(config: Path) -> None:
    """Reason, detail, topic, and the payload: as text, or in hexadecimal where it is none."""
    shown = ecluse("quarantine", "show", 1, "--config", config).stdout
    for part in (
        "not json",
        "what is [bold]wrong[/]",
        "city/lyon/bin/b7/up",
        "journal record 10",
        '{"dist_mm',
    ):
        assert part in shown
    assert "ff fe 00 ff fe 00" in ecluse("quarantine", "show", 2, "--config", config).stdout
    assert r"\x1b[2J" in ecluse("quarantine", "show", 3, "--config", config).stdout


def test_raw_goes_into_another_command(config: Path) -> None:
    """Byte for byte."""
    raw = ecluse("quarantine", "show", 2, "--raw", "--config", config).stdout_bytes
    assert raw == ROWS[1].payload
    tried = ecluse("profile", "try", SHIPPED / "bin-level", stdin=raw)
    assert "not utf-8" in tried.stdout


def test_it_is_read_while_the_gateway_writes_and_never_written(config: Path) -> None:
    """The file is open elsewhere; what that adds is seen; the file itself is left as it was."""
    file = config.parent / "state" / "quarantine.db"

    async def meanwhile() -> str:
        store = await QuarantineStore.open(file, per_device=100, total=1_000)
        await store.put([refused(9, b"{}", Reason.TOO_OLD)])
        shown = await asyncio.to_thread(ecluse, "quarantine", "list", "--config", config)
        await store.close()
        return str(shown.stdout)

    assert "too old" in asyncio.run(meanwhile())
    before = file.read_bytes()
    ecluse("quarantine", "list", "--config", config)
    assert file.read_bytes() == before


def test_the_head_of_a_packet(config: Path) -> None:
    """It stands in no journal, and says so."""

    async def put() -> None:
        store = await QuarantineStore.open(config.parent / "state" / "quarantine.db", per_device=9, total=9)
        await store.put([refused(7, b"zz", Reason.TOO_LARGE)], sink=BROKER)
        await store.close()

    asyncio.run(put())
    shown = ecluse("quarantine", "show", 4, "--config", config).stdout
    assert "in no journal: the first bytes of a packet" in " ".join(shown.split())


def test_a_row_that_is_gone(config: Path) -> None:
    """Exit 1, and where to look."""
    result = ecluse("quarantine", "show", 99, "--config", config)
    assert result.exit_code == 1
    assert "there is no 99 in quarantine" in result.stderr


def test_a_folder_where_no_gateway_ran(tmp_path: Path) -> None:
    """Is said, with a hint; nothing is made there."""
    config = settings_file(tmp_path)
    result = ecluse("quarantine", "list", "--config", config)
    assert result.exit_code == 1
    assert "no gateway has run with the state folder" in result.stderr
    assert not list((tmp_path / "state").iterdir())


def test_a_file_that_is_none(tmp_path: Path) -> None:
    """Exit 5: storage."""
    config = settings_file(tmp_path)
    (tmp_path / "state" / "quarantine.db").write_bytes(b"not a database" * 1_000)
    result = ecluse("quarantine", "list", "--config", config)
    assert result.exit_code == 5
    assert "cannot be read" in result.stderr


def test_a_span_that_is_none(config: Path) -> None:
    """Exit 2: the command line."""
    result = ecluse("quarantine", "list", "--since", "lately", "--config", config)
    assert result.exit_code == 2
    assert "neither a span such as 2h nor a time" in " ".join(result.stderr.split())
