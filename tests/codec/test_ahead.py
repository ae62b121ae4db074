"""Codecs work aside: what they will be asked is decoded in a thread, before the river's turn."""

from __future__ import annotations

import base64
import json
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from gateway.codec.sandbox import Sandbox
from gateway.decode.ahead import codec_work
from gateway.decode.decoder import decode
from gateway.pipeline import River
from gateway.profiles.compile import compile_text
from gateway.profiles.whole import attached
from tests.decode.plans import batch, device, profile, routes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.profiles.plan import ProfilePlan

HEAD = "profile: {name}\nversion: 1\nfamily: waste\n{arrives}\ncodec: {{file: a.js}}\n"
SCRIPT = "function decodeUplink(i) { return { data: { a: i.bytes[0] + i.fPort / 100 } }; }"


def with_codec(name: str, arrives: str) -> ProfilePlan:
    text = HEAD.format(name=name, arrives=arrives) + "quantities: {a: {path: a}}\n"
    return compile_text(attached(text, "codec", "a.js", SCRIPT), name=name)


BARE = with_codec("bare", 'topics: ["c/{site}/{device}"]')
LORA = with_codec("lora", "source: chirpstack")
JSON = profile("quantities: {a: {path: a}}\n", name="plain")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox()
    yield made
    made.close()


def uplinks() -> Any:
    event = {"data": base64.b64encode(b"\x05").decode(), "fPort": 85, "deduplicationId": "1"}
    return batch(
        ("c/s/one", b"\x07"),
        ("t/s/two", b'{"a": 3}'),
        ("application/x/device/eui/event/up", json.dumps(event).encode()),
        ("application/x/device/eui/event/up", b"no envelope"),
        ("c/s/one", b"x" * 20_000),
        ("nowhere", b"\x01"),
    )


def known(**more: Any) -> Any:
    return routes(BARE, JSON, LORA, devices=[device("eui", profile="lora")], **more)


def test_what_will_be_asked() -> None:
    """Payloads of profiles with a codec, out of their envelopes; not what is too large or nobody's."""
    work = codec_work([uplinks()], known())
    assert [(one.codec, list(one.payloads), list(one.ports)) for one in work] == [
        (BARE.codec, [b"\x07"], [None]),
        (LORA.codec, [b"\x05"], [85]),
    ]
    assert codec_work([uplinks()], routes(JSON)) == []
    assert codec_work([], known()) == []


def test_what_was_prepared_is_not_run_again(sandbox: Sandbox) -> None:
    """The same comes out, whether it was prepared, in part, or not at all."""
    expected = [one.values.tolist() for one in decode(uplinks(), known(codecs=sandbox)).readings]
    assert expected
    sandbox.prepare(codec_work([uplinks()], known()))
    sandbox.close()
    decoded = decode(uplinks(), known(codecs=sandbox))
    assert [one.values.tolist() for one in decoded.readings] == expected
    assert sandbox._process is None, "nothing was left to be run"
    sandbox.prepare(codec_work([uplinks()], known())[:1])
    decoded = decode(uplinks(), known(codecs=sandbox))
    assert [one.values.tolist() for one in decoded.readings] == expected


async def test_the_loop_does_not_wait_for_a_codec() -> None:
    """The river has it prepared in another thread, then treats the uplinks in its own."""
    threads: dict[str, int] = {}

    def noted(name: str) -> Any:
        return lambda *_: threads.update({name: threading.get_ident()})

    treatment = SimpleNamespace(
        codec_work=lambda batches: codec_work(batches, known()),
        codecs=SimpleNamespace(prepare=noted("prepare")),
        uplinks=noted("uplinks"),
    )
    river = cast("River", SimpleNamespace(_treatment=treatment))
    await River._uplinks(river, [uplinks()])
    assert threads["uplinks"] == threading.get_ident()
    assert threads["prepare"] != threading.get_ident()
