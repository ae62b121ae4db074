"""SenML packs (RFC 8428), JSON or CBOR: records resolved against their base values, one sample a time.

The two are told apart by their first byte. A record's name is what stands in `n`, or what ends `bn` where
there is no `n`; what leads a name, as in `urn:dev:ow:10e2073a0108006:temperature`, is left out.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.decode.formats.cbor import cbor_value
from gateway.decode.formats.parsing import Failure, Parsed, Refused, converting, parse_values
from gateway.model import Reason
from gateway.profiles.lines import TIME
from gateway.profiles.units import conversion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.decode.frames import Frames
    from gateway.decode.shape import Shape
    from gateway.profiles.plan import ProfilePlan

_LABELS: Mapping[Any, str] = {
    -1: "bver", -2: "bn", -3: "bt", -4: "bu", -5: "bv", -6: "bs",
    0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb", 5: "s", 6: "t", 7: "ut", 8: "vd",
}  # fmt: skip
"""CBOR's labels of RFC 8428, table 4."""
_BEHIND = re.compile(r"[^:/]*$")
_RELATIVE_S = 2**28
"""Below it, a time is relative to now: here, to when the pack was received (RFC 8428, 4.5.3)."""
_VERSION = 10
_UCUM: Mapping[str, str] = {"%RH": "%", "/": "1", "count": "1", "dBm": "dB[mW]", "degC": "Cel"}
"""Units that RFC 8428 writes otherwise than UCUM."""
_SUM = "_sum"
"""Behind the name of a record, its running sum `s`."""


class SenmlParser:
    """Parses packs into one type."""

    def __init__(self, shape: Shape, plan: ProfilePlan) -> None:
        self._convert = converting(shape.type)
        self._max_depth = plan.max_depth
        self._units = {
            quantity.path.removeprefix("[]."): quantity.unit
            for group in plan.groups
            for quantity in group.quantities
            if quantity.path and (quantity.scale, quantity.offset) == (1.0, 0.0)
        }

    def parse(self, frames: Frames) -> Parsed:
        """Return the objects and the failures. Never raises on bad data."""
        remarks: list[Failure] = []
        number = iter(range(len(frames)))

        def read(payload: bytes) -> list[dict[str, Any]]:
            place = next(number)
            return self._samples(payload, int(frames.received_ns[place]), place, remarks)

        parsed = parse_values(frames.payloads, read, self._convert)
        failed = {failure.index for failure in parsed.failures}
        return Parsed(parsed.objects, parsed.failures, [one for one in remarks if one.index not in failed])

    def _samples(
        self, payload: bytes, received_ns: int, place: int, remarks: list[Failure]
    ) -> list[dict[str, Any]]:
        """Return a pack's samples, oldest time last or first as it has them. Raises Refused."""
        samples: dict[int | None, dict[str, Any]] = {}
        base: dict[str, Any] = {}
        for record in self._records(payload):
            base |= {key: value for key, value in record.items() if key[:1] == "b"}
            _check(record)
            name, time_ns = _name(record, base), _time_ns(record, base, received_ns)
            sample = samples.setdefault(time_ns, {TIME: time_ns})
            for key, value in _values(record, base, name):
                told = self._in_unit(key, value, record.get("u", base.get("bu")))
                if isinstance(told, str) and not isinstance(value, str):
                    remarks.append(Failure(place, Reason.WRONG_TYPE, told))
                else:
                    _put(sample, key.split("."), told)
        return list(samples.values())

    def _records(self, payload: bytes) -> Sequence[dict[str, Any]]:
        found = _json(payload) if payload[:1] in (b"[", b" ", b"\n", b"\r", b"\t") else None
        if found is None:
            found = cbor_value(payload, self._max_depth)
        if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
            raise Refused(Reason.UNREADABLE, "a SenML pack is a list of records")
        return [{_LABELS.get(key, str(key)): value for key, value in record.items()} for record in found]

    def _in_unit(self, key: str, value: Any, unit: Any) -> Any:  # noqa: ANN401 - any SenML value
        """Return a number in the quantity's unit; a sentence where its unit is another one."""
        wanted = self._units.get(key)
        if wanted is None or not isinstance(unit, str) or isinstance(value, bool | str):
            return value
        unit = _UCUM.get(unit, unit)
        if unit == wanted:
            return value
        try:
            return value * conversion(unit, wanted)
        except ValueError:
            return f"{key}: its unit is {unit:.20}, and {wanted} is wanted"


def compile_senml(shape: Shape, plan: ProfilePlan) -> SenmlParser:
    """Return a parser of SenML packs."""
    return SenmlParser(shape, plan)


def _json(payload: bytes) -> Any:  # noqa: ANN401 - any JSON
    try:
        return msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Refused(Reason.NOT_JSON, f"no JSON: {error}") from error
    except RecursionError as error:
        raise Refused(Reason.TOO_DEEP, "nested too deep to be read") from error


def _check(record: Mapping[str, Any]) -> None:
    """Refuse what RFC 8428 has an older reader refuse."""
    for key in record:
        if key.endswith("_"):
            raise Refused(Reason.UNREADABLE, f"the field {key:.40} must be understood, and is not")
    version = record.get("bver", _VERSION)
    if not isinstance(version, int) or version > _VERSION:
        raise Refused(Reason.UNREADABLE, f"SenML of version {version!s:.20}; {_VERSION} is understood")


def _name(record: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    name = record.get("n") or base.get("bn") or ""
    found = _BEHIND.search(name) if isinstance(name, str) else None
    if found is None or not found[0][:1].isalnum():  # as RFC 8428 has names, 4.5.1
        raise Refused(Reason.MISSING_FIELD, "a record has no name")
    return found[0]


def _time_ns(record: Mapping[str, Any], base: Mapping[str, Any], received_ns: int) -> int | None:
    """Return a record's time, ns UTC; None where it has none, which means now. Raises Refused."""
    if record.get("t") is None and base.get("bt") is None:
        return None
    seconds = _number(base.get("bt", 0), "bt") + _number(record.get("t", 0), "t")
    if abs(seconds) >= _RELATIVE_S:
        return _ns(seconds)
    return None if seconds == 0 else received_ns + _ns(seconds)


def _ns(seconds: float) -> int:
    """Return ns, of a whole number exactly, else to the microsecond: a double has no more today."""
    if abs(seconds) > 1e10:
        raise Refused(Reason.NOT_REPRESENTABLE, f"{seconds:g} s is no time from 1684 to 2255")
    return seconds * 10**9 if isinstance(seconds, int) else round(seconds * 1e6) * 1_000


def _values(record: Mapping[str, Any], base: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    """Return (name, value) of what a record says: its value, and its running sum."""
    found: list[tuple[str, Any]] = []
    if "v" in record or ("bv" in base and not {"vs", "vb", "vd", "s"} & record.keys()):
        found.append((name, _number(record.get("v", 0), "v") + _number(base.get("bv", 0), "bv")))
    found += [(name, record[key]) for key in ("vs", "vb") if key in record]
    if "s" in record:
        found.append((name + _SUM, _number(record["s"], "s") + _number(base.get("bs", 0), "bs")))
    return found


def _number(value: Any, key: str) -> int | float:  # noqa: ANN401 - any SenML value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(Reason.WRONG_TYPE, f"«{key}» is no number")
    if not math.isfinite(value):
        raise Refused(Reason.NOT_FINITE, f"«{key}» is not finite")
    return value


def _put(sample: dict[str, Any], keys: Sequence[str], value: Any) -> None:  # noqa: ANN401 - any SenML value
    """Set a value under a name, whose points lead into objects. Raises Refused."""
    for key in keys[:-1]:
        sample = sample.setdefault(key, {})
        if not isinstance(sample, dict):
            raise Refused(Reason.WRONG_TYPE, f"«{'.'.join(keys):.60}» is a value and an object")
    sample[keys[-1]] = value
