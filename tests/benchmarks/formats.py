"""What parsing costs, format by format: `python -m tests.benchmarks.formats`.

CPU microseconds a message, the best of fifteen rounds over 10,000 messages of seven values, and the ratio to
JSON in the same run.
"""

from __future__ import annotations

import base64
import json
import struct
import time
from typing import TYPE_CHECKING

import cbor2
import psutil

from gateway.codec.sandbox import Sandbox
from gateway.decode.envelopes import Envelope
from gateway.decode.frames import Frames
from gateway.decode.profile_decoder import ProfileDecoder
from gateway.model import SeriesTable
from gateway.profiles.compile import compile_text
from gateway.profiles.envelopes import ENVELOPES
from gateway.profiles.whole import attached

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.decode.formats.parsing import Failure
    from gateway.decode.payload import Payload
    from gateway.decode.records import Records

    Parse = Callable[[Frames], tuple[Records, list[Failure], list[Failure]]]

MESSAGES, ROUNDS = 10_000, 15
_HEAD = 'profile: p\nversion: 1\nfamily: waste\ntopics: ["t/{device}"]\n'
_QUANTITIES = """\
quantities:
  distance: {PATH unit: mm, range: [20, 4500]}
  temperature: {PATH unit: Cel}
  battery: {PATH unit: V}
  tilt: {PATH states: {0: upright, 1: tilted}}
  rssi: {PATH unit: "dB[mW]"}
  seq: {PATH kind: counter}
"""
_FIELDS = "seq:u16, distance:u16, temperature:i16/10, battery:u16/1000, tilt:u8, rssi:i8"
_TAGS = """
  "01": seq:u16
  "02": distance:u16
  "03": temperature:i16/10
  "04": battery:u16/1000
  "05": [tilt:u8, rssi:i8]
"""


def _json(n: int) -> bytes:
    row = {
        "time": n,
        "seq": n,
        "distance": 1000,
        "temperature": -3.5,
        "battery": 3.61,
        "tilt": 0,
        "rssi": -97,
    }
    return json.dumps(row, separators=(",", ":")).encode()


def _cbor(n: int) -> bytes:
    return cbor2.dumps(json.loads(_json(n)))


def _senml(n: int) -> bytes:
    row = json.loads(_json(n))
    time_s = row.pop("time") + 2**29
    pack = [{"n": name, "v": value} for name, value in row.items()]
    pack[0]["bt"] = time_s
    return json.dumps(pack, separators=(",", ":")).encode()


def _csv(n: int) -> bytes:
    return ",".join(map(str, json.loads(_json(n)).values())).encode()


def _fixed(n: int) -> bytes:
    return struct.pack(">IHHhHBb", n, n, 1000, -35, 3610, 0, -97)


def _tagged(n: int) -> bytes:
    return struct.pack(">BHBHBhBHBBb", 1, n, 2, 1000, 3, -35, 4, 3610, 5, 0, -97)


def _payload(text: str, *, by_path: bool, script: str = "") -> Payload:
    named = [(line.split(":")[0].strip(), line) for line in _QUANTITIES.splitlines()]
    lines = [line.replace("PATH", f"path: {name}," if by_path else "") for name, line in named]
    quantities = "\n".join(lines)
    document = f"{_HEAD}{text}{quantities}\n"
    plan = compile_text(attached(document, "codec", "p.js", script) if script else document, name="p")
    made = ProfileDecoder(plan, tables={}, texts=SeriesTable(), max_series=10, codecs=SANDBOX)
    return made._payload


def _enveloped(n: int) -> bytes:
    event = {
        "deduplicationId": f"3ac7e3c4-4401-4b8d-9386-{n:012d}",
        "time": "2025-11-22T00:06:30.123456+00:00",
        "deviceInfo": {"tenantName": "Lyon", "devEui": "24e124535b316056", "tags": {}},
        "dr": 1,
        "fCnt": n,
        "fPort": 85,
        "data": base64.b64encode(_fixed(n)).decode(),
        "rxInfo": [{"gatewayId": "0016c001f153a14c", "rssi": -48, "snr": 9.0, "context": "EFwMtA=="}],
        "txInfo": {"frequency": 867100000, "modulation": {"lora": {"bandwidth": 125000}}},
    }
    return json.dumps(event, separators=(",", ":")).encode()


def _out_of_envelopes(reader: Payload) -> Parse:
    envelope = Envelope(ENVELOPES["chirpstack"], "binary")

    def parse(frames: Frames) -> tuple[Records, list[Failure], list[Failure]]:
        told = envelope.unwrap(frames)
        assert not told.failures
        return reader.parse(told.frames)

    return parse


SANDBOX = Sandbox()
_CODEC = """
function decodeUplink(input) {
  var data = {}, bytes = input.bytes, at = 0;
  function u16() { at += 2; return (bytes[at - 2] << 8) | bytes[at - 1]; }
  while (at < bytes.length) {
    switch (bytes[at++]) {
      case 1: data.seq = u16(); break;
      case 2: data.distance = u16(); break;
      case 3: data.temperature = ((u16() << 16) >> 16) / 10; break;
      case 4: data.battery = u16() / 1000; break;
      case 5: data.tilt = bytes[at++]; data.rssi = (bytes[at++] << 24) >> 24; break;
      default: return { errors: ["unknown tag"] };
    }
  }
  return { data: data };
}
"""
_COLUMNS = (
    "csv: {columns: [time, seq, distance, temperature, battery, tilt, rssi]}\ntime: {path: time, unit: s}\n"
)
_BINARY = _payload(f"layout: [time:unix32, {_FIELDS}]\n", by_path=False)
FORMATS: dict[str, tuple[Parse, Callable[[int], bytes]]] = {
    "JSON": (_payload("time: {path: time, unit: s}\n", by_path=True).parse, _json),
    "CBOR": (_payload("format: cbor\ntime: {path: time, unit: s}\n", by_path=True).parse, _cbor),
    "SenML": (_payload("format: senml\n", by_path=False).parse, _senml),
    "CSV": (_payload(_COLUMNS, by_path=False).parse, _csv),
    "binary, fixed layout": (_BINARY.parse, _fixed),
    "the same in ChirpStack": (_out_of_envelopes(_BINARY), _enveloped),
    "binary, tags": (_payload(f"tlv:{_TAGS}", by_path=False).parse, _tagged),
    "the same by a codec": (_payload("codec: {file: p.js}\n", by_path=True, script=_CODEC).parse, _tagged),
}
"""A format's name → what parses payloads of a profile, and what makes a message of a number."""


def cpu_us(name: str, *, messages: int = MESSAGES, rounds: int = ROUNDS) -> float:
    """Return the CPU time of parsing one message, microseconds."""
    parse, made = FORMATS[name]
    frames = Frames.bare([made(n % 60_000) for n in range(messages)])
    best = float("inf")
    for _ in range(rounds):
        begun = _cpu_s()
        _, failures, remarks = parse(frames)
        best = min(best, _cpu_s() - begun)
        assert not failures
        assert not remarks
    return best / messages * 1e6


def _cpu_s() -> float:
    """Return the CPU time of this process and of those that work for it (to 10 ms)."""
    others = [child.cpu_times() for child in psutil.Process().children()]
    return time.process_time() + sum(one.user + one.system for one in others)


def main() -> None:
    """Print a line a format."""
    reference = 0.0
    for name in FORMATS:
        found = cpu_us(name)
        reference = reference or found
        print(f"{name:24} {found:6.2f} µs a message, {found / reference:5.2f} × JSON")  # noqa: T201 - its purpose
    SANDBOX.close()


if __name__ == "__main__":
    main()
