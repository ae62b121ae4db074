"""`ecluse sniff` beside a real broker, and what it makes of topics and payloads."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest

from gateway.cli.overheard import MAX_KINDS, Overheard, shape_of
from gateway.profiles.load import load
from tests.brokers import mosquitto, publish
from tests.cli.command import SHIPPED, ecluse, settings_file

if TYPE_CHECKING:
    from pathlib import Path

PLANS = load(SHIPPED).plans
NOW_NS = 1_795_342_502 * 10**9
BIN = json.dumps({"ts": 1795342500000, "dist_mm": 1150}).encode()


@pytest.mark.parametrize(
    ("payload", "shape"),
    [
        (b'{"b": 1, "a": {"c": 2}}', "{a, b}"),
        (
            json.dumps({f"k{n:02}": n for n in range(20)}).encode(),
            "{k00, k01, k02, k03, k04, k05, k06, k07, …}",
        ),
        (b'[{"t": 1}]', "[{t}, …]"),
        (b"[]", "[]"),
        (b"21.5", "number"),
        (b'"on"', "text"),
        (b"null", "null"),
        (b"ON", "text «ON»"),
        (b"\x00\x01\xff", "3 bytes"),
        (b"a\x1b[2J", "5 bytes"),
        (b"", "empty"),
        (b"[" * 100_000, "text «[[[[[[[[[[[[[[[[[[[[[[[[»"),
    ],
)
def test_shapes_of_payloads(payload: bytes, shape: str) -> None:
    assert shape_of(payload) == shape


def test_what_fits_is_tried_and_what_does_not_is_explained() -> None:
    heard = Overheard(PLANS)
    for number in range(3):
        heard.add(f"city/lyon/bin/bin-{number}/up", BIN, NOW_NS)
    heard.add("city/lyon/bin/bin-1/down", b"{}", NOW_NS)
    heard.add("city/lyon/bin/up", b"{}", NOW_NS)
    found = {pattern: heard.verdict(kind) for pattern, kind in heard.kinds.items()}
    assert found["city/{site}/bin/{device}/up"].startswith("bin-level@")
    assert found["city/{site}/bin/{device}/up"].endswith(" readings")
    assert "level 5 is «down», not «up»" in found["city/lyon/bin/+/down"]
    assert "it has 5 levels, this has 4" in found["city/lyon/bin/up"]
    kind = heard.kinds["city/{site}/bin/{device}/up"]
    assert (kind.messages, len(kind.topics)) == (3, 3)
    heard.add("city/lyon/bin/bin-1/up", b"{", NOW_NS)
    assert "not json" in heard.verdict(kind)


def test_it_is_bounded() -> None:
    heard = Overheard({})
    for number in range(MAX_KINDS + 10):
        heard.add("a/" + "b" * number + "/c", b"", NOW_NS)
    assert len(heard.kinds) == MAX_KINDS
    assert heard.left_out == 10
    assert heard.verdict(next(iter(heard.kinds.values()))) == "no profile has topics"


def test_beside_a_broker(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        config = settings_file(tmp_path, f'[broker]\nurl = "{broker.url}"\n')
        ended = threading.Event()

        def city() -> None:
            while not ended.wait(0.2):
                publish(broker, [("city/lyon/bin/bin-7/up", BIN), ("other/42/x", b"\x01\x02")])

        sender = threading.Thread(target=city)
        sender.start()
        try:
            result = ecluse("sniff", "--config", config, "--for", "3s", "--json")
            shown = ecluse("sniff", "city/#", "--config", config, "--for", "2s")
        finally:
            ended.set()
            sender.join()
    assert result.exit_code == 0, result.output
    rows = {row["topics"]: row for row in map(json.loads, result.output.splitlines())}
    assert rows["city/{site}/bin/{device}/up"]["payload"] == "{dist_mm, ts}"
    assert rows["other/+/x"]["messages"] > 2
    assert "no profile" in rows["other/+/x"]["profile"]
    assert "bin-level@" in shown.output
    assert "other" not in shown.output


def test_a_broker_that_is_not_there(tmp_path: Path) -> None:
    config = settings_file(tmp_path, '[broker]\nurl = "mqtt://127.0.0.1:1"\n')
    result = ecluse("sniff", "--config", config, "--for", "2s")
    assert result.exit_code != 0
    assert "cannot connect" in result.output
    assert "--for" in ecluse("sniff", "--config", config, "--for", "soon").output
