"""`ecluse quarantine export | replay | drop`: how what was refused comes out again."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.api.address import ADDRESS_FILE
from gateway.books import Outcome
from gateway.errors import NotReady
from gateway.journal.lock import GATEWAY, FolderLock
from gateway.model import Reason, Refused
from gateway.quarantine.reader import BROKER, QuarantineReader
from gateway.quarantine.store import QuarantineStore
from tests.cli.command import SHIPPED, ecluse, settings_file
from tests.pages import Site, site
from tests.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECEIVED_NS = 1_795_342_500_123_456_789
"""2026-11-22T10:15:00.123456789Z."""
UPLINK = Refused(
    position=10,
    index=0,
    received_ns=RECEIVED_NS,
    topic=b"city/lyon/bin/b7/up",
    payload='{"dist_mm": "é"}'.encode(),
    reason=Reason.WRONG_TYPE,
    detail="what is wrong",
    site="lyon",
    device="b7",
    profile="bin-level",
)
ROWS = (
    UPLINK,
    replace(UPLINK, index=1, payload=b"\xff\x00", topic=b"city/\xff", reason=Reason.NOT_UTF8, retained=True),
    replace(UPLINK, index=2, payload=b"{", reason=Reason.NOT_JSON, device="b8"),
)


async def fill(file: Path) -> None:
    store = await QuarantineStore.open(file, per_device=100, total=1_000)
    await store.put(ROWS)
    point = replace(UPLINK, position=0, topic=b"", payload=b"waste x=1", reason=Reason.REFUSED_BY_SINK)
    await store.put([point], sink="influx")
    await store.put([replace(point, payload=b"zz", reason=Reason.TOO_LARGE)], sink=BROKER)
    await store.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of a gateway that does not run."""
    file = settings_file(tmp_path, f"[http]\nport = {free_port()}\n")
    asyncio.run(fill(tmp_path / "state" / "quarantine.db"))
    return file


@pytest.fixture
def served(tmp_path: Path, config: Path) -> Iterator[Site]:
    """The same, and it runs."""
    with site(tmp_path, with_store=False) as running:
        (tmp_path / "state" / ADDRESS_FILE).write_text(running.url + "\n", encoding="utf-8")
        yield running


def left(config: Path) -> list[int]:
    """Return the numbers of the rows that are there."""
    with closing(QuarantineReader.open(config.parent / "state" / "quarantine.db")) as reader:
        return sorted(row.id for row in reader.list())


def told(rows: int, after: int | None, **more: Any) -> dict[str, Any]:
    """Return what the gateway says of one request."""
    nothing = {"points": 0, "packets": 0, "damaged": 0}
    return Outcome().as_dict() | nothing | {"rows": rows, "next": after} | more


# --- export ---


def test_an_export_holds_everything(config: Path) -> None:
    """A JSON object a line, oldest first: times to the nanosecond, bytes that are no text as base64."""
    lines = ecluse("quarantine", "export", "--config", config).stdout.splitlines()
    first, second, _, point, packet = map(json.loads, lines)
    assert first == {
        "id": 1,
        "kind": "uplink",
        "received": "2026-11-22T10:15:00.123456789Z",
        "site": "lyon",
        "device": "b7",
        "profile": "bin-level",
        "topic": "city/lyon/bin/b7/up",
        "topic_encoding": "text",
        "reason": "wrong type",
        "detail": "what is wrong",
        "sink": "",
        "retained": False,
        "damaged": False,
        "payload": '{"dist_mm": "é"}',
        "encoding": "text",
    }
    assert (second["encoding"], base64.b64decode(second["payload"])) == ("base64", b"\xff\x00")
    assert (second["topic_encoding"], base64.b64decode(second["topic"])) == ("base64", b"city/\xff")
    assert second["retained"]
    assert (point["kind"], point["sink"], point["payload"]) == ("point", "influx", "waste x=1")
    assert (packet["kind"], packet["sink"]) == ("packet", "")


def test_an_export_goes_into_a_file(config: Path, tmp_path: Path) -> None:
    """Only what is chosen; a payload of it can be tried, at the time at which it was received."""
    out = tmp_path / "refused.jsonl"
    result = ecluse("quarantine", "export", "--device", "b7", "--out", out, "--config", config)
    assert (result.exit_code, result.stdout) == (0, "")
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows] == [1, 2, 4, 5]
    tried = ecluse(
        *("profile", "try", SHIPPED / "bin-level", rows[0]["payload"]),
        *("--topic", rows[0]["topic"], "--at", rows[0]["received"], "--param", "empty=1800"),
    )
    assert "wrong type" in tried.stdout


def test_a_file_that_cannot_be_written(config: Path, tmp_path: Path) -> None:
    """Exit 1, with its name."""
    result = ecluse("quarantine", "export", "-o", tmp_path / "none" / "x.jsonl", "--config", config)
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


# --- replay ---


def test_a_replay_needs_the_gateway(config: Path) -> None:
    """Exit 6, and how to start it; nothing is touched."""
    result = ecluse("quarantine", "replay", "--config", config)
    assert result.exit_code == 6
    assert "no gateway answers" in result.stderr
    assert len(left(config)) == 5


def test_a_replay_goes_on_to_the_end(config: Path, served: Site) -> None:
    """Of what was there when it began, part by part; the sum is told."""
    served.quarantine.answers += [told(2, 2, uplinks=2, aggregated=5), told(1, 3, uplinks=1), told(0, None)]
    result = ecluse("quarantine", "replay", "--site", "lyon", "--config", config)
    assert result.exit_code == 0
    assert "3 uplinks let in again: 3 well, 0 in quarantine again." in result.stdout
    asked = [(what, one.site, one.after, one.through) for what, one, _ in served.quarantine.asked]
    assert asked == [("replay", "lyon", after, 5) for after in (0, 2, 3)]


def test_what_is_refused_again_is_said(config: Path, served: Site) -> None:
    """By reason, and with exit 1; so are readings behind their lateness, with the command for their span."""
    served.quarantine.answers += [
        told(
            9,
            5,
            uplinks=4,
            again=2,
            refused={"not json": 2},
            known=3,
            late=7,
            late_first_ns=RECEIVED_NS,
            late_last_ns=RECEIVED_NS + 60 * 10**9,
            points=1,
            packets=2,
            damaged=1,
        ),
        told(0, None),
    ]
    result = ecluse("quarantine", "replay", "--profile", "bin-level", "--config", config)
    assert result.exit_code == 1
    shown = " ".join(result.stdout.split())
    for part in (
        "4 uplinks let in again: 2 well, 2 in quarantine again.",
        "3 readings had been stored before",
        "7 readings from 2026-11-22T10:15:00Z to 2026-11-22T10:16:01Z are behind the lateness",
        "ecluse replay --from 2026-11-22T10:15:00Z --to 2026-11-22T10:16:01Z --profile bin-level",
        f" --config {config} --apply",
        "1 row: points that a sink refused. They are not replayed",
        "2 rows: the first bytes of packets",
        "1 row damaged on the disk",
    ):
        assert part in shown


def test_a_dry_run_says_what_would_be(config: Path, served: Site) -> None:
    """And asks for nothing else."""
    served.quarantine.answers += [told(3, 3, uplinks=3, again=1, refused={"not json": 1}), told(0, None)]
    result = ecluse("quarantine", "replay", "--dry-run", "--config", config)
    assert result.exit_code == 1
    assert "3 uplinks looked at: 2 would be well, 1 would be in quarantine again." in result.stdout
    assert {what for what, *_ in served.quarantine.asked} == {"rehearse"}


def test_a_gateway_that_cannot_now(config: Path, served: Site) -> None:
    """Exit 6, with its own words."""
    served.quarantine.answers.append(NotReady("the gateway is not flowing yet", hint="ask later"))
    result = ecluse("quarantine", "replay", "--config", config)
    assert result.exit_code == 6
    assert "not flowing yet" in result.stderr


def test_a_replay_that_is_cut_short_says_what_it_did(config: Path, served: Site) -> None:
    """What was let in stays so; the rest is asked for anew."""
    served.quarantine.answers += [told(2, 2, uplinks=2), NotReady("the gateway stops")]
    result = ecluse("quarantine", "replay", "--config", config)
    assert result.exit_code == 6
    assert "2 uplinks let in again: 2 well" in result.stdout
    assert "the gateway stops" in result.stderr


@pytest.mark.parametrize("verb", ["replay", "drop"])
def test_nothing_like_that(config: Path, verb: str) -> None:
    """No gateway is asked."""
    result = ecluse("quarantine", verb, "--device", "nobody", "--config", config)
    assert (result.exit_code, result.stdout.strip()) == (0, "Nothing in quarantine is like that.")


# --- drop ---


def test_dropping_asks_first(config: Path) -> None:
    """It says how many by reason; a no leaves all of them."""
    result = ecluse("quarantine", "drop", "--config", config, stdin="n\n")
    assert result.exit_code == 1
    assert "Drop 5 rows for good?" in result.stdout
    assert "refused by sink" in result.stdout
    assert left(config) == [1, 2, 3, 4, 5]


def test_dropping_without_a_gateway(config: Path) -> None:
    """What is chosen, counted; the folder is free again afterwards."""
    result = ecluse("quarantine", "drop", "--reason", "not json", "--yes", "--config", config)
    assert (result.exit_code, "1 row dropped." in result.stdout) == (0, True)
    assert left(config) == [1, 2, 4, 5]
    again = ecluse(
        *("quarantine", "drop", "--since", "2026-11-22T10:15:00.1Z", "--until", "2026-11-22T10:15:01Z"),
        *("--site", "lyon", "--profile", "bin-level", "--config", config),
        stdin="y\n",
    )
    assert "4 rows dropped." in again.stdout
    assert left(config) == []
    FolderLock(config.parent / "state", GATEWAY).release()


def test_dropping_through_the_gateway(config: Path, served: Site) -> None:
    """It holds the file: nothing is done beside it."""
    served.quarantine.answers += [{"rows": 3, "next": 0}, {"rows": 1, "next": 0}, {"rows": 0, "next": None}]
    result = ecluse("quarantine", "drop", "-y", "--config", config)
    assert "4 rows dropped." in result.stdout
    assert left(config) == [1, 2, 3, 4, 5]
    assert {(what, one.through) for what, one, _ in served.quarantine.asked} == {("drop", 5)}


def test_dropping_beside_a_gateway_that_does_not_answer(config: Path) -> None:
    """Exit 5: it holds the folder."""
    lock = FolderLock(config.parent / "state", GATEWAY)
    try:
        result = ecluse("quarantine", "drop", "--yes", "--config", config)
    finally:
        lock.release()
    assert result.exit_code == 5
    assert "most likely a gateway, holds it" in result.stderr
    assert left(config) == [1, 2, 3, 4, 5]
