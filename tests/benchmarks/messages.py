"""The messages of the workload: PUBLISH packets made once, of which only digits change. Pure numpy.

Message m of a fleet of D devices is message k = m // D of device d = m % D. All packets are equally long,
so a block of them is a matrix of bytes. What they say is a function of (d, k) and of the time that the
block was given: `values` says it again, for whoever holds the results against the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tests.benchmarks.headline import HEADLINE, SITE, id_width

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

SEQ_FIRST: Final = 10_000
SEQ_TURN: Final = 90_000
"""Sequence numbers keep five digits: 10000 … 99999, then again."""
_LEVELS: Final = 10
_IDS: Final = 65_535


@dataclass(frozen=True, slots=True)
class Values:
    """What messages say, as columns: float64[n]; tilt is always 0."""

    distance: NDArray[np.float64]
    temperature: NDArray[np.float64]
    battery: NDArray[np.float64]
    rssi: NDArray[np.float64]


def values(device: NDArray[np.int64], turn: NDArray[np.int64]) -> Values:
    """Return what message `turn` of each device says. Bins that tremble by some millimetres."""
    wobble = (7 * device + 3 * turn) % _LEVELS
    return Values(
        distance=(1_000 + 10 * (device % 150) + wobble).astype(np.float64),
        temperature=(100 + 10 * (device % 20) + wobble) / 10,
        battery=(350 + device % 20) / 100,
        rssi=-(60 + device % 40).astype(np.float64),
    )


def payload(device: str, seq: int, ts_ms: int, said: Values, at: int) -> bytes:
    """Return one payload, as the shipped profile's devices write it."""
    return (
        f'{{"id":"{device}","seq":{seq},"ts":{ts_ms},"dist_mm":{said.distance[at]:.0f},'
        f'"temp_c":{said.temperature[at]:.1f},"battery_v":{said.battery[at]:.2f},"tilt":0,'
        f'"rssi":{said.rssi[at]:.0f}}}'
    ).encode()


class Packets:
    """All devices' packets in one matrix, uint8[devices, length], written again and again.

    `level` is the protocol level: 4 is what the generator sends, 5 what a broker sends to the gateway;
    `root` is what the topics begin with.
    """

    def __init__(self, devices: int, *, qos: int, level: int = 4, root: str = HEADLINE.root) -> None:
        self.devices = devices
        self.qos = qos
        index = np.arange(devices)
        said = values(index, np.zeros(devices, dtype=np.int64))
        width = id_width(devices)
        names = [f"bin-{d:0{width}d}" for d in range(devices)]
        packets = [
            _packet(topic(name, root), payload(name, SEQ_FIRST, 10**12, said, d), qos, level)
            for d, name in enumerate(names)
        ]
        self.length = len(packets[0])
        assert {len(packet) for packet in packets} == {self.length}
        self._matrix = np.frombuffer(b"".join(packets), dtype=np.uint8).reshape(devices, self.length).copy()
        self._at = _Places.of(packets[0])
        self._ids = _big_endian(np.arange(1, 2 * _IDS + 1) % _IDS + 1)
        # The last digit of distance and temperature, by turn and device.
        digits = [(7 * index + 3 * turn) % _LEVELS + ord("0") for turn in range(_LEVELS)]
        self._digits = np.array(digits, dtype=np.uint8)

    def block(self, turn: int, first: int, end: int, *, ts_ms: int, sent: int) -> memoryview:
        """Return message `turn` of devices [first, end), as bytes that the next call may overwrite.

        `sent` is how many messages went out before on the same connection: it gives the packet identifiers.
        """
        rows, at = self._matrix[first:end], self._at
        rows[:, at.seq : at.seq + 5] = _digits(SEQ_FIRST + turn % SEQ_TURN)
        rows[:, at.ts : at.ts + 13] = _digits(ts_ms)
        rows[:, at.distance] = rows[:, at.temperature] = self._digits[turn % _LEVELS, first:end]
        if self.qos:
            begin = sent % _IDS
            rows[:, at.packet_id : at.packet_id + 2] = self._ids[begin : begin + end - first]
        return rows.data.cast("B")


@dataclass(frozen=True, slots=True)
class _Places:
    """Where in a packet the digits are that change."""

    packet_id: int
    seq: int
    ts: int
    distance: int
    temperature: int

    @classmethod
    def of(cls, packet: bytes) -> _Places:
        def behind(text: bytes) -> int:
            assert packet.count(text) == 1
            return packet.index(text) + len(text)

        return cls(
            packet_id=behind(b"/up"),
            seq=behind(b'"seq":'),
            ts=behind(b'"ts":'),
            distance=behind(b'"dist_mm":') + 3,
            temperature=behind(b'"temp_c":') + 3,
        )


def topic(device: str, root: str = "city") -> str:
    """Return the topic of a device, as shipped but for its root."""
    return f"{root}/{SITE}/bin/{device}/up"


def _packet(topic: str, body: bytes, qos: int, level: int) -> bytes:
    """Return a PUBLISH of MQTT 3.1.1, or of MQTT 5 (level 5) without properties: section 3.3 of both."""
    name = topic.encode()
    head = (b"\x00\x01" if qos else b"") + (b"\x00" if level == 5 else b"")
    rest = len(name).to_bytes(2, "big") + name + head + body
    assert 128 <= len(rest) < 16_384, "a remaining length of two bytes"
    return bytes((0x30 | qos << 1, len(rest) & 0x7F | 0x80, len(rest) >> 7)) + rest


def _digits(number: int) -> Bytes:
    return np.frombuffer(str(number).encode(), dtype=np.uint8)


def _big_endian(numbers: NDArray[np.int64]) -> Bytes:
    return numbers.astype(">u2").view(np.uint8).reshape(-1, 2)
