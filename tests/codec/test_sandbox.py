"""Hostile codecs: each costs its own message, and says why."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codec import sandbox as module
from gateway.codec.sandbox import COMMAND, Sandbox
from gateway.profiles.codec import CodecPlan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.ports import Answer

ECHO = "function decodeUplink(input) { return { data: { bytes: input.bytes, port: input.fPort } }; }"
GOOD = b"\x00\x01"
HOSTILE = """
var kept = [];
function decodeUplink(input) {
  var kind = input.bytes[0], ran = kept.push(kind);
  if (kind === 1) for (;;) {}
  if (kind === 2) { var all = []; for (;;) all.push("x".repeat(100000) + all.length); }
  if (kind === 3) (function deep() { return deep() + 1; })();
  if (kind === 4) throw new Error("the sensor says no");
  if (kind === 5) return undefined;
  if (kind === 6) return { data: "x".repeat(70000) };
  if (kind === 7) return { errors: ["one", "two"] };
  if (kind === 8) { var ring = {}; ring.ring = ring; return { data: ring }; }
  if (kind === 9) return { data: 1n };
  if (kind === 10) return { data: { get value() { for (;;) {} } } };
  if (kind === 11) for (;;) { try { for (;;) {} } catch (error) {} }
  if (kind === 12) { leaked = 1; Date = null; globalThis.other = 2; }
  if (kind === 13)
    return { data: { open: typeof require, std: typeof std, os: typeof os, fetch: typeof fetch } };
  if (kind === 14) throw null;
  if (kind === 15) /(a+)+$/.test("a".repeat(40) + "b");
  if (kind === 16) return { data: function () {} };
  return { data: { ran: ran, leaked: typeof leaked, other: typeof other } };
}
"""
FRESH = {"ran": 1, "leaked": "undefined", "other": "undefined"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox()
    yield made
    made.close()


def run(sandbox: Sandbox, script: str, *payloads: bytes, **more: object) -> list[Answer]:
    plan = CodecPlan("some.js", script, **more)  # type: ignore[arg-type]
    return sandbox.decode(plan, payloads, [7] * len(payloads), [0] * len(payloads))


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (1, "it took longer than 100 ms"),
        (2, ""),  # memory or time, whichever ends first
        (3, "Maximum call stack"),
        (4, "the sensor says no"),
        (5, "has returned undefined"),
        (6, "longer than 65536 characters"),
        (7, "one; two"),
        (8, "circular"),
        (9, "BigInt"),
        (10, "it took longer"),
        (11, "it took longer"),
        (14, "memory"),
        (15, "it took longer"),
        (16, "no data"),
    ],
)
def test_what_is_hostile_costs_its_own_message(sandbox: Sandbox, kind: int, told: str) -> None:
    before, bad, after = run(sandbox, HOSTILE, b"\0", bytes([kind]), b"\0")
    assert bad.error
    assert told in bad.error
    assert not bad.data
    for good in (before, after):
        assert (json.loads(good.data or "null"), good.error) == (FRESH, "")


def test_nothing_is_left_for_the_next_message(sandbox: Sandbox) -> None:
    """Its own variables, those that it did not declare, what it put in place of others."""
    _, after = run(sandbox, HOSTILE, b"\x0c", b"\0")
    assert json.loads(after.data) == FRESH


def test_a_codec_has_no_way_out(sandbox: Sandbox) -> None:
    (answer,) = run(sandbox, HOSTILE, b"\x0d")
    assert json.loads(answer.data) == {
        "open": "function",  # our own: it knows `buffer` alone
        "std": "undefined",
        "os": "undefined",
        "fetch": "undefined",
    }
    (answer,) = run(sandbox, "const files = require('fs'); " + ECHO, b"\0")
    assert answer.error == "the codec needs the module fs, which is not there"


def test_the_process_has_no_environment_and_little_memory(sandbox: Sandbox) -> None:
    run(sandbox, ECHO, b"\0")
    assert sandbox._process is not None
    process = psutil.Process(sandbox._process.pid)
    assert not {name for name in process.environ() if name != "LC_CTYPE"}  # Python sets that one itself
    assert process.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert process.rlimit(psutil.RLIMIT_AS) == (1024**3, 1024**3)
    assert process.memory_info().rss < 100e6


def test_many_that_hang_are_hurried(sandbox: Sandbox) -> None:
    """Ten at full length, the rest at a fiftieth of it: the river waits a second or two, not minutes."""
    began = time.monotonic()
    answers = run(sandbox, HOSTILE, *[b"\x01"] * 300, b"\0")
    assert {answer.error for answer in answers[:10]} == {"it took longer than 100 ms"}
    assert {answer.error for answer in answers[10:300]} == {"it took longer than 2 ms"}
    assert json.loads(answers[300].data) == FRESH
    assert time.monotonic() - began < 60
    (answer,) = run(sandbox, HOSTILE, b"\x01")
    assert answer.error == "it took longer than 100 ms"


@pytest.mark.parametrize("script", ["function (", "export function decodeUplink() {}", "})(); })", "", "}"])
def test_what_is_no_codec_says_so(sandbox: Sandbox, script: str) -> None:
    first, second = run(sandbox, script, b"\0", b"\1")
    assert first.error == second.error
    assert first.error


def test_forms_of_codecs(sandbox: Sandbox) -> None:
    """Constants, exports, strict mode, the older forms; variables; `normalizeUplink`."""
    for script in (
        '"use strict"; const decodeUplink = (input) => ({ data: input.fPort });',
        "exports.decodeUplink = (input) => ({ data: input.fPort });",
        "module.exports = { decodeUplink(input) { return { data: input.fPort }; } };",
        "function Decoder(bytes, port) { return port; } // no line behind",
        "function Decode(port, bytes) { return port; }",
        "let exports = {}; const module = 1; function decodeUplink(input) { return { data: input.fPort }; }",
    ):
        assert run(sandbox, script, b"\0") == [("7", "")], script
    script = (
        "function decodeUplink(i) { i.variables.a += '!'; return { data: i.variables.a }; }"
        "function normalizeUplink(i) { return { data: [i.data, 1] }; }"
    )
    given = {"variables": (("a", "x"),), "normalize": True}
    assert [answer.data for answer in run(sandbox, script, b"\0", b"\0", **given)] == ['["x!",1]'] * 2
    (answer,) = run(
        sandbox, "function decodeUplink(i) { return { data: [i.recvTime.getTime(), i.time] }; }", b""
    )
    assert json.loads(answer.data) == [0, "1970-01-01T00:00:00.000Z"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=20))
def test_bytes_come_as_they_are(sandbox: Sandbox, payloads: list[bytes]) -> None:
    answers = run(sandbox, ECHO, *payloads)
    assert [json.loads(answer.data)["bytes"] for answer in answers] == list(map(list, payloads))


DYING = """
import os, signal, sys
from gateway.codec import worker
run = worker.Engine.run
def dying(self, payload, *rest, **more):
    if payload[:1] == b"k":
        os.kill(os.getpid(), signal.SIGSEGV)
    if payload[:1] == b"h":
        signal.pause()
    if payload[:1] == b"n":
        sys.stdout.buffer.write(bytes(8))
        sys.stdout.buffer.flush()
    return run(self, payload, *rest, **more)
worker.Engine.run = dying
worker.main()
"""


@pytest.fixture
def dying() -> Iterator[Sandbox]:
    """A process that ends, hangs or raves when a payload says so: no codec that we know can do that."""
    made = Sandbox([sys.executable, "-I", "-c", DYING], silence_s=1)
    yield made
    made.close()


def errors(answers: Sequence[Answer]) -> dict[int, str]:
    return {place: answer.error for place, answer in enumerate(answers) if answer.error}


def test_a_message_that_ends_the_process_is_found(dying: Sandbox) -> None:
    """Among others, in batches of several; the rest is decoded by the next process."""
    payloads = [b"k" if place in (70, 1500) else GOOD for place in range(2000)]
    found = errors(run(dying, ECHO, *payloads))
    assert found == dict.fromkeys((70, 1500), "the codec's process has ended: signal 11")


@pytest.mark.parametrize(
    ("kind", "told"), [(b"h", "it did not answer within 1 s"), (b"n", "it answered nonsense")]
)
def test_a_process_that_hangs_or_raves_is_ended(dying: Sandbox, kind: bytes, told: str) -> None:
    found = errors(run(dying, ECHO, GOOD, kind, GOOD))
    assert list(found) == [1]
    assert told in found[1]


def test_who_ends_it_again_and_again_is_not_tried(dying: Sandbox) -> None:
    answers = run(dying, ECHO, GOOD, *[b"k"] * 10, GOOD)
    assert not answers[0].error
    assert [answer.error[:9] for answer in answers[1:]] == ["the codec"] * 3 + ["not tried"] * 8
    assert not errors(run(dying, ECHO, GOOD))


def test_it_is_called_from_any_thread(sandbox: Sandbox) -> None:
    found: list[list[Answer]] = []
    threads = [
        threading.Thread(target=lambda: found.append(run(sandbox, ECHO, *[GOOD] * 500))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(answers) for answers in found] == [500] * 4
    assert not any(map(errors, found))


def test_many_codecs_begin_the_process_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENGINES", 3)
    made = Sandbox()
    try:
        for number in range(8):
            script = f"function decodeUplink() {{ return {{ data: {number} }}; }}"
            assert run(made, script, b"\0") == [(str(number), "")]
        assert len(made._numbers) <= 3
    finally:
        made.close()


def test_it_ends_with_who_began_it() -> None:
    """Nobody is left where the gateway was killed: the worker's input has ended."""
    made = Sandbox(COMMAND)
    run(made, ECHO, b"\0")
    process = made._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(5) == 0
    made.close()
