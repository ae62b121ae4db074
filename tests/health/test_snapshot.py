from __future__ import annotations

import json
from dataclasses import replace

from gateway.health.snapshot import SinkBook
from tests.pages import snapshot


def test_ready_is_every_component() -> None:
    """One that is not well is enough."""
    assert snapshot().ready
    assert not snapshot(ready=False).ready


def test_balanced_is_every_book() -> None:
    """The first, the second, and each sink's."""
    assert snapshot().balanced
    assert not snapshot(missing=1).balanced
    off = replace(snapshot(), sinks={"influx": SinkBook(made=3, stored=1, waiting=1)})
    assert off.sinks["influx"].difference() == 1
    assert not off.balanced


def test_it_is_json() -> None:
    """Plain values, with what follows from them."""
    told = json.loads(json.dumps(snapshot(ready=False).as_dict()))
    assert (told["ready"], told["balanced"]) == (False, True)
    assert told["components"][2]["state"] == "down"
    assert told["sinks"]["influx"]["difference"] == 0
