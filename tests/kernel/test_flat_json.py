"""Payloads read by the compiled twin and by msgspec give the same readings, rejections and details."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.decode import scalars
from gateway.decode.decoder import decode_together
from gateway.decode.formats import json_columns
from gateway.decode.frames import Frames
from gateway.decode.identity import Identities
from gateway.decode.payload import Payload
from gateway.decode.shape import Want
from tests.decode.plans import batch, device, profile, routes, shipped

if TYPE_CHECKING:
    from types import ModuleType

    from gateway.decode.shape import Shape
    from gateway.profiles.plan import ProfilePlan

TWIN = "flat_json"
SAME = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

FLAT = """
time: {path: ts, unit: ms}
sequence: seq
covers: {path: period, unit: s, label: end}
dimensions: {lane: lane}
parameters: {p: {unit: mm, default: 5}}
quantities:
  a: {path: a, unit: mm, missing: [0, 65535]}
  b: {unit: mm, from: "p / a"}
  n: {path: n, unit: L, kind: counter, modulus: 1000, required: true}
  v: {path: deep.v, unit: "1", kind: event, scale: 10}
  s: {path: s, unit: "1", states: {0: off, 1: "on", open: "on", shut: off}, missing: [7]}
  w: {path: deep.er.w, unit: "1", states: {true: "on", false: off}}
  t: {path: t, unit: "1", kind: text}
  alarms: {path: bits, bits: {0: low, "1..2": {1: leak, 3: burst}}}
  by: {path: by, unit: "1", by: [lane]}
limits: {payload: 300, depth: 4, readings: 12}
"""
SHARED = """
time: {path: x, unit: s}
quantities:
  a: {path: x, unit: s}
  b: {path: y, unit: "1", states: {0: off, 1: "on", up: "on"}}
  c: {path: y, unit: "1"}
  d: {path: y, unit: "1", kind: text}
  e: {path: "schlüssel", unit: "1"}
"""
KEYS = ["ts", "seq", "period", "lane", "a", "n", "deep", "v", "s", "er", "w", "t", "bits", "by", "x", "y"]
KEYS += ["schlüssel", "unwanted", "", "ts\\u0020", "k" * 40, "a ", "A", "b[", "é"]
NUMBERS = ["0", "-0", "0.0", "-0.0", "00", "01", "1.", ".5", "+1", "1e5", "1E-5", "1e", "1e+", "1e22", "1e23"]
NUMBERS += [
    "1e-22",
    "1e-23",
    "0.1",
    "12.30",
    "-97",
    "1e999",
    "-1e-999",
    "0e5",
    "-",
    "1e00005",
    "1.e5",
    "1e5.0",
]
NUMBERS += [
    "9007199254740992",
    "9007199254740993",
    "-9007199254740993",
    "9007199254740993.0",
    "1.7976931348623157e308",
]
NUMBERS += [
    "999999999999999999",
    "1000000000000000000",
    "9223372036854775808",
    "-9223372036854775808",
    "1" * 40,
]
NUMBERS += [
    "123456789012345678",
    "0.000000000000000001",
    "0.1234567890123456",
    "1763769600000",
    "1763769600.5",
    "65535",
]
WORDS = ["true", "false", "null", "NaN", "Infinity", "-Infinity", "nul", "True", "tru", "nullx", "truefalse"]
TEXTS = [
    '""',
    '"open"',
    '"shut"',
    '"up"',
    '"in"',
    '"1"',
    '"\\n"',
    '"\\u00e9"',
    '"é"',
    '"a]b"',
    '"{"',
    '"\x7f"',
    '"\t"',
]
TEXTS += [
    f'"{"x" * 64}"',
    f'"{"x" * 65}"',
    f'"{"x" * 257}"',
    '"\\ud800"',
    '"2026-11-22T10:15:00Z"',
    "'a'",
    '"',
]
BLANKS = ["", "", "", "", " ", "\n", "\t\r ", "\x0b", "\xa0"]
GOOD = ["0", "1", "7", "12", "3.25", "1763769600000", '"open"', "true", "null"]


def payload(dice: random.Random, wild: float) -> bytes:  # noqa: C901 - one story
    """Make a payload that is unusual in some of its parts, more of them the greater `wild` is."""

    def blank() -> str:
        return dice.choice(BLANKS) if dice.random() < wild else ""

    def value(depth: int) -> str:
        roll = dice.random()
        if roll > wild * 2:
            return dice.choice(GOOD)
        if roll < wild * 0.3 and depth < 6:
            inner = [value(depth + 1) for _ in range(dice.randrange(3))]
            return f"[{','.join(inner)}]" if dice.random() < 0.5 else made(depth + 1)
        numbers = [
            repr(dice.uniform(-1e3, 1e3)),
            f"{dice.uniform(-50, 50):.3f}",
            str(dice.randrange(-(10**19), 10**19)),
        ]
        numbers += [f"{dice.randrange(10 ** dice.randrange(1, 18))}e{dice.randrange(-30, 30)}"]
        return dice.choice([*NUMBERS, *WORDS, *TEXTS, *numbers])

    def made(depth: int) -> str:
        keys = [dice.choice(KEYS) for _ in range(dice.randrange(10))]
        if dice.random() > wild:
            keys = list(dict.fromkeys(keys))
        members = []
        for key in keys:
            nested = key in {"deep", "er"} and dice.random() > wild and depth < 6
            said = made(depth + 1) if nested else value(depth)
            members.append(f'{blank()}"{key}"{blank()}:{blank()}{said}{blank()}')
        return "{" + ",".join(members) + blank() + "}"

    text = bytearray((blank() + made(0) + blank()).encode())
    for _ in range(dice.randrange(3) if dice.random() < wild else 0):
        place = dice.randrange(len(text) + 1)
        kind = dice.randrange(4)
        if kind == 0:
            text[place : place + 1] = bytes([dice.randrange(256)])
        elif kind == 1:
            del text[place : place + dice.randrange(4)]
        elif kind == 2:
            text[place:place] = dice.choice([b",", b'"', b"}", b"{", b"\0", b":", b"0", b"\\", b"-", b"]"])
        else:
            del text[place:]
    return bytes(text)


def compiled_payload(plan: ProfilePlan, wants: dict[str, Want], twin: ModuleType | None) -> Payload:
    """Compile the payload of some wishes."""

    class Wishes:
        def want(self, shape: Shape) -> None:
            for path, want in wants.items():
                shape.want(path, want, words=["open", "up"] if want is Want.SCALAR else ())

        def bind(self, shape: Shape) -> None:
            self.leaves = [shape.leaf(path) for path in wants]

    wishes = Wishes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_columns, "_FLAT_JSON", twin)
        made = Payload(plan, [wishes])
    made.leaves = wishes.leaves  # type: ignore[attr-defined] - for this test
    return made


def said(parser: Any, payloads: list[bytes]) -> object:
    """Return all that parsing gives, as values that compare, floats by their bits."""
    records, failures, _ = parser.parse(Frames.bare(payloads))
    columns = []
    for leaf in parser.leaves:
        found = records.scalars(leaf)
        exact = leaf.want not in {Want.NUMBER, Want.WHOLE}
        values = [(type(value), value) for value in found.values()] if exact else []
        columns.append((found.absent.tolist(), found.numbers.view(np.int64).tolist(), str(values)))
    return len(records), columns, failures


WANTS = [Want.NUMBER, Want.WHOLE, Want.TIME, Want.SCALAR, Want.TEXT, Want.LABEL]
PATHS = ["ts", "a", "n", "deep.v", "deep.er.w", "s", "t", "x", "schlüssel", "", "k" * 40]


def usual_between(payloads: list[bytes]) -> list[bytes]:
    """Put a usual payload behind each."""
    usual = b'{"ts":1763769600000,"a":5,"x":1763769600,"n":3}'
    return [one for payload in payloads for one in (payload, usual)]


def fuzz(twin: ModuleType, seed: int, rounds: int, batch_size: int = 50) -> tuple[int, int]:
    """Hold the two against each other; return how many payloads there were, and how many the twin took."""
    dice = random.Random(seed)
    plan, tried, taken = profile(FLAT), 0, 0
    for _ in range(rounds):
        paths = dice.sample([path for path in PATHS if path], dice.randrange(1, 8))
        wants = {path: dice.choice(WANTS) for path in paths}
        fast, slow = (compiled_payload(plan, wants, module) for module in (twin, None))
        wild = dice.choice([0.02, 0.1, 0.3])
        payloads = [payload(dice, wild) for _ in range(batch_size)]
        if dice.random() < 0.5:  # among enough usual ones, each that is left is a row of its own
            payloads = usual_between(payloads)
        assert said(fast, payloads) == said(slow, payloads), (wants, payloads)
        tried += len(payloads)
        taken += len(payloads) - len(fast._columns.parse(Frames.bare(payloads))[1])  # type: ignore[union-attr]
    return tried, taken


def test_same_in_any_payload(twin: ModuleType) -> None:
    """Valid JSON in every writing, JSON that is none, and payloads with bytes changed; both sorts are met."""
    tried, taken = fuzz(twin, seed=1, rounds=100)
    assert 0.2 * tried < taken < 0.9 * tried


def decoded(plan: ProfilePlan, payloads: list[bytes], twin: ModuleType | None) -> object:
    """Return all that decoding gives, as values that compare."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_columns, "_FLAT_JSON", twin)
        here = routes(
            plan, devices=[device("d", profile=plan.name, parameters={"empty": 3000.0})], max_series=20
        )
    topic = plan.topics[0].replace("{site}", "s").replace("{device}", "d")
    cut = len(payloads) // 2
    sent = [batch(*((topic, one) for one in part)) for part in (payloads[:cut], payloads[cut:])]
    found = decode_together(sent, here, Identities())
    readings = [
        (
            *(column.tobytes() for column in (one.series, one.time, one.present, one.flags, one.uplink)),
            *(column.tobytes() for column in (one.time_source, one.received_ns, one.values[one.present])),
            one.table.keys,
            one.texts.keys,
        )
        for one in found.readings
    ]
    places = (found.duplicates.tolist(), found.ignored.tolist())
    return readings, found.rejections, places, found.unknown


@SAME
@given(
    body=st.sampled_from([FLAT, SHARED]),
    seed=st.integers(0, 2**32),
    wild=st.sampled_from([0.02, 0.1, 0.3]),
    size=st.integers(1, 30),
    mixed=st.booleans(),
)
def test_same_readings_and_rejections(
    twin: ModuleType, body: str, seed: int, wild: float, size: int, *, mixed: bool
) -> None:
    """Fast and slow uplinks mix freely: order, codes, times, states, texts and reasons are equal."""
    dice, plan = random.Random(seed), profile(body)
    payloads = [payload(dice, wild) for _ in range(size)]
    payloads = usual_between(payloads) if mixed else payloads
    assert decoded(plan, payloads, twin) == decoded(plan, payloads, None)


values = st.one_of(
    st.integers(-(2**64), 2**64).map(str),
    st.floats().map(repr),
    st.from_regex(r"-?[0-9]{0,20}(\.[0-9]{0,20})?([eE][+-]?[0-9]{0,3})?", fullmatch=True),
    st.sampled_from([*NUMBERS, *WORDS, *TEXTS]),
)


@SAME
@given(said_of=st.dictionaries(st.sampled_from(["ts", "dist_mm", "temp_c", "tilt", "seq", "id"]), values))
@example(said_of={"dist_mm": "9007199254740993", "temp_c": "-0", "ts": "1e3", "tilt": "true"})
def test_same_for_the_shipped_bin(twin: ModuleType, said_of: dict[str, str]) -> None:
    """Numbers and texts of every writing at every place."""
    text = "{" + ",".join(f'"{key}":{value}' for key, value in said_of.items()) + "}"
    usual = b'{"ts":1763769600000,"dist_mm":1200,"tilt":0}'
    payloads = [usual, text.encode(), usual.replace(b"1200", b"1300")]
    plan = shipped("bin-level")
    assert decoded(plan, payloads, twin) == decoded(plan, payloads, None)


@pytest.mark.parametrize(
    "usual",
    [
        b'{"id":"bin-1","ts":1763769600000,"dist_mm":1200,"temp_c":-10.5,"tilt":0}',
        b' { "ts" : 1763769600000 , "dist_mm" : 1.2e3 }\r\n',
        b'{"dist_mm":null,"gateways":[{"id":"x","rssi":-97.5e0},[]],"ts":1763769600000,"tilt":true}',
        b"{}",
    ],
)
def test_it_takes_what_is_usual(twin: ModuleType, usual: bytes) -> None:
    """Else the twin would be a twin in name alone."""
    fast = compiled_payload(
        shipped("bin-level"), {"ts": Want.TIME, "dist_mm": Want.NUMBER, "tilt": Want.SCALAR}, twin
    )
    assert fast._columns is not None
    assert fast._columns.parse(Frames.bare([usual]))[1] == []


@pytest.mark.parametrize(
    "unusual",
    [
        b'{"ts":1,"ts":2}',
        b'{"\\u0074s":1}',
        b'{"id":"\xc3\xa9"}',
        b'{"id":"["}',
        b'{"ts":-0}',
        b'{"ts":1234567890123456789}',
        b'{"ts":1e23}',
        b'{"ts":"1"}',
        b'{"tilt":"' + b"x" * 257 + b'"}',
        b'{"a":' + b"[" * 8 + b"]" * 8 + b"}",
        b'{"id":"' + b"x" * 16_384 + b'"}',
        b"{} x",
        b"{}\0",
        b"",
    ],
)
def test_it_leaves_what_is_not(twin: ModuleType, unusual: bytes) -> None:
    """What is for msgspec to judge is left, whether it is right or wrong."""
    fast = compiled_payload(shipped("bin-level"), {"ts": Want.TIME, "tilt": Want.SCALAR}, twin)
    assert fast._columns is not None
    assert fast._columns.parse(Frames.bare([b"{}", unusual]))[1] == [1]


@pytest.mark.parametrize("name", ["traffic-counter", "water-meter"])
def test_profiles_with_levels_do_without(twin: ModuleType, name: str) -> None:
    """Lists, free keys, histories and times as text go through msgspec altogether."""
    plan = shipped(name)
    (decoder,) = routes(plan).decoders
    assert decoder._payload._columns is None


def test_types_are_numbered_alike(twin: ModuleType) -> None:
    """The kernel writes the types that `decode.scalars` reads."""
    reader = twin.Reader([(9, True, True, 9, [b"w"])], [{b"a": 0}], 8, 99)
    types, numbers, wholes = np.empty((1, 6), np.uint8), np.empty((1, 6)), np.empty((1, 6), np.int64)
    others: list[list[object]] = [["w"]]
    payloads = [b"{}", b'{"a":1.5}', b'{"a":5}', b'{"a":true}', b'{"a":"w"}', b'{"a":"x"}']
    assert reader.read(payloads, types, numbers, wholes, others) == []
    found = scalars.Scalars(types[0], numbers[0], wholes[0], others[0])
    assert found.values() == [None, 1.5, 5, True, "w", "x"]
    kinds = [scalars.ABSENT, scalars.FLOAT, scalars.WHOLE, scalars.TRUTH, scalars.OTHER, scalars.OTHER]
    assert types[0].tolist() == kinds


def test_columns_must_fit(twin: ModuleType) -> None:
    """Columns of another size, or keys that lead nowhere, are refused: they would be written beyond."""
    reader = twin.Reader([(9, True, True, 9, [])], [{b"a": 0}], 8, 99)
    narrow = np.empty((1, 1), np.uint8), np.empty((1, 1)), np.empty((1, 1), np.int64)
    with pytest.raises(ValueError, match="length"):
        reader.read([b"{}", b"{}"], *narrow, [[]])
    with pytest.raises(ValueError, match="field"):
        reader.read([b"{}"], *narrow, [])
    with pytest.raises(ValueError, match="nowhere"):
        twin.Reader([], [{b"a": 1}], 8, 99)
    with pytest.raises(ValueError, match="can hold"):
        twin.Reader([(9, True, True, 9, [])] * (twin.MOST["fields"] + 1), [{}], 8, 99)
