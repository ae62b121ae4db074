"""Takes devices' payloads out of what network servers wrap around them. Pure.

What an envelope leaves out is zero or empty. Its time stands in where the device tells none; its key, where
neither does, is the uplink's identity.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from gateway.decode.formats.parsing import Failure, parse_each, reason_of
from gateway.decode.frames import NO_PORT, Frames
from gateway.decode.link_facts import Facts, struct_of
from gateway.decode.scalars import of_values
from gateway.decode.times import to_ns
from gateway.model import Reason

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gateway.model import Bool, Int64
    from gateway.profiles.envelopes import EnvelopePlan

DECODED = "decoded"
"""The format of payloads that the network server's own codec has decoded."""
_DETAIL = 200
_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_Port = Annotated[int, Meta(ge=0, le=255)]
_Number = Annotated[int, Meta(ge=0, le=2**53)]
_Text = Annotated[str, Meta(max_length=256)]
_Moment = Annotated[datetime, Meta(tz=True)]


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """Payloads of n uplinks without their envelopes, and what stood beside them.

    `places` int64[n] are theirs among the uplinks given; `times` int64[n] ns UTC where `timed` bool[n];
    `keys` identify the uplinks. `failures` ascend by the place among those given.
    """

    frames: Frames
    places: Int64
    times: Int64
    timed: Bool
    keys: list[str]
    failures: list[Failure]
    facts: Mapping[str, list[Any]] = field(default_factory=dict)
    """By path (`@rssi`), a value for each uplink, None where the envelope does not tell it."""

    def select(self, kept: Bool) -> Unwrapped:
        """Return some of the uplinks; the failures stay."""
        chosen = np.flatnonzero(kept)
        keys = [self.keys[place] for place in chosen.tolist()]
        return Unwrapped(
            self.frames.take(chosen.tolist()),
            self.places[kept],
            self.times[kept],
            self.timed[kept],
            keys,
            self.failures,
            {path: [values[place] for place in chosen.tolist()] for path, values in self.facts.items()},
        )


class Envelope:
    """Reads one kind of envelope."""

    def __init__(self, plan: EnvelopePlan, payload_format: str, facts: Collection[str] = ()) -> None:
        """`facts` are the paths that are wanted, of `profiles.envelopes.FACTS`."""
        self._facts = Facts(plan, facts)
        self._decoded = payload_format == DECODED
        payload = plan.decoded if self._decoded else plan.payload
        wanted: dict[str, Any] = {
            payload: msgspec.Raw if self._decoded else str,
            plan.port: _Port,
            plan.time: _Moment,
            **dict.fromkeys(plan.key, str | _Number),
        }
        if plan.simulated:
            wanted[plan.simulated] = bool
        wanted |= self._facts.wanted
        self._plan = plan
        self._decode = msgspec.json.Decoder(struct_of(wanted), strict=plan.strict).decode
        self._bytes = bytes.fromhex if plan.coding == "hex" else partial(base64.b64decode, validate=True)
        self._payload, self._port, self._time = map(attrgetter, (payload, plan.port, plan.time))
        self._key = [attrgetter(path) for path in plan.key]
        self._simulated = attrgetter(plan.simulated) if plan.simulated else None

    def unwrap(self, frames: Frames) -> Unwrapped:
        """Return the payloads; what is no envelope is a failure. Never raises on bad data."""
        parsed = parse_each(frames.payloads, self._decode, _ERRORS, self._explain)
        failed = {failure.index: failure for failure in parsed.failures}
        good = [place for place in range(len(frames)) if place not in failed]
        payloads: list[bytes] = []
        kept: list[tuple[int, Any]] = []
        for place, found in zip(good, parsed.objects, strict=True):
            inner = self._inner(found)
            if isinstance(inner, bytes):
                payloads.append(inner)
                kept.append((place, found))
            else:
                failed[place] = Failure(place, *inner)
        places = np.array([place for place, _ in kept], dtype=np.int64)
        objects = [found for _, found in kept]
        ports = np.array([self._port(found) or NO_PORT for found in objects], dtype=np.int64)
        times, timed, bad = to_ns(of_values(list(map(self._time, objects))), "iso")
        return Unwrapped(
            frames=Frames(payloads, ports, frames.received_ns[places]),
            places=places,
            times=times,
            timed=timed & ~bad,
            keys=["\0".join(str(get(found) or "") for get in self._key) for found in objects],
            failures=[failed[place] for place in sorted(failed)],
            facts=self._facts.of(objects),
        )

    def _inner(self, found: Any) -> bytes | tuple[Reason, str]:  # noqa: ANN401 - a type made at run time
        """Return the payload that an envelope holds, or why there is none."""
        if self._simulated is not None and self._simulated(found):
            return Reason.SIMULATED, f"{self._plan.title} says that it is simulated"
        payload = self._payload(found)
        if payload is None:
            what = self._plan.decoded if self._decoded else self._plan.payload
            return Reason.NO_READING, f"the envelope has no {what}"
        if self._decoded:
            return bytes(payload)
        try:
            return self._bytes(payload)
        except ValueError as error:  # a text that is not ASCII is no binascii.Error
            return Reason.UNREADABLE, f"{self._plan.payload} is not {self._plan.coding}: {error}"

    def _explain(self, payload: bytes, error: Exception) -> tuple[Reason, str]:
        try:
            payload.decode()
        except UnicodeDecodeError as invalid:
            return Reason.NOT_UTF8, f"byte {invalid.start} is not UTF-8: {invalid.reason}"
        if isinstance(error, RecursionError):
            return Reason.TOO_DEEP, "nested too deep to be read"
        told = f"no envelope of {self._plan.title}: {error}"
        return reason_of(str(error)) or Reason.NOT_JSON, told[:_DETAIL]
