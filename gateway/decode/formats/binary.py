"""Binary payloads, as the profile lays them out: bytes become an object, which is judged as JSON's are.

A payload that ends too early, or holds more than is laid out, is refused; of one with a tag that nobody
knows, what was read is kept, and the rest is said. A float that is not a number is no reading.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.decode.formats.binary_items import Out, Unreadable, compile_variant
from gateway.decode.formats.parsing import Failure, Parsed, converting, reason_of
from gateway.decode.frames import NO_PORT
from gateway.model import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.decode.frames import Frames
    from gateway.decode.shape import Shape
    from gateway.profiles.layout import BinaryPlan, VariantPlan
    from gateway.profiles.plan import ProfilePlan

_DETAIL = 200
_SHOWN = 4
"""Bytes of a payload that fits no variant, told with the refusal."""


class BinaryParser:
    """Parses the payloads of one profile one by one."""

    def __init__(self, shape: Shape, binary: BinaryPlan) -> None:
        self._convert = converting(shape.type)
        self._variants = [(one, compile_variant(one, little=binary.little)) for one in binary.variants]
        self._bytes = ENCODINGS[binary.encoding]

    def parse(self, frames: Frames) -> Parsed:
        """Return the objects, the failures, and what was left out of good ones. Never raises on bad data."""
        objects: list[Any] = []
        failures: list[Failure] = []
        remarks: list[Failure] = []
        for index, (payload, port) in enumerate(zip(frames.payloads, frames.ports.tolist(), strict=True)):
            try:
                found, remark = self._read(self._bytes(payload), port)
                objects.append(self._convert(found))
            except Unreadable as wrong:
                failures.append(Failure(index, wrong.reason, str(wrong)[:_DETAIL]))
            except msgspec.ValidationError as error:
                reason = reason_of(str(error)) or Reason.UNREADABLE
                failures.append(Failure(index, reason, str(error)[:_DETAIL]))
            else:
                if remark:
                    remarks.append(Failure(index, Reason.UNREADABLE, remark[:_DETAIL]))
        return Parsed(objects, failures, remarks)

    def _read(self, payload: bytes, port: int) -> tuple[dict[str, Any], str]:
        """Return the object of a payload, and what could not be read of it. Raises Unreadable."""
        variant, read = self._chosen(payload, port)
        out = Out({name: f"{float(rule.evaluate({'port': port})):g}" for name, rule in variant.set.items()})
        remark = read(payload, out)
        return out.found, remark

    def _chosen(self, payload: bytes, port: int) -> tuple[VariantPlan, Callable[[bytes, Out], str]]:
        chosen = [one for one in self._variants if fits(one[0], payload, port)]
        if len(chosen) == 1:
            return chosen[0]
        said = f"port {port}, " if port != NO_PORT else ""
        said += f"{len(payload)} bytes that begin with {payload[:_SHOWN].hex() or 'nothing'}: "
        if chosen:
            said += f"fits variants {' and '.join(str(one) for one, _ in chosen)}"
        else:
            said += f"fits no variant of {'; '.join(str(one) for one, _ in self._variants)}"
        raise Unreadable(said, Reason.NO_VARIANT)


def fits(variant: VariantPlan, payload: bytes, port: int) -> bool:
    """Tell whether all conditions of a variant hold."""
    return (
        (variant.port is None or port in variant.port)
        and payload.startswith(variant.prefix)
        and (variant.length is None or len(payload) in variant.length)
    )


def compile_binary(shape: Shape, plan: ProfilePlan) -> BinaryParser:
    """Return a parser of a profile's binary payloads, which it lays out."""
    assert plan.binary is not None, "the compiler of profiles sees to it"
    return BinaryParser(shape, plan.binary)


def _as_sent(payload: bytes) -> bytes:
    return payload


def _from_hex(payload: bytes) -> bytes:
    try:
        return bytes.fromhex(payload.decode("ascii"))
    except ValueError as error:
        raise Unreadable(f"{payload[:40]!r} is not hexadecimal") from error


def _from_base64(payload: bytes) -> bytes:
    try:
        return base64.b64decode(payload.strip(), validate=True)
    except binascii.Error as error:
        raise Unreadable(f"{payload[:40]!r} is not base64: {error}") from error


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "bytes": _as_sent,
    "hex": _from_hex,
    "base64": _from_base64,
}
"""What a payload is sent as → what gives its bytes; it raises Unreadable."""
