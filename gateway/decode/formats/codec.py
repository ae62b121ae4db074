"""Payloads that a vendor's own codec decodes: what it returns is judged as JSON is.

A codec that refuses, fails, or takes too long or too much, costs its own message, which is refused in the
codec's own words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.decode.formats.json_payload import compile_json
from gateway.decode.formats.parsing import Failure, Parsed
from gateway.decode.frames import NO_PORT, Frames
from gateway.model import Reason
from gateway.ports import Answer, CodecWork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.decode.shape import Shape
    from gateway.ports import Codecs
    from gateway.profiles.codec import CodecPlan
    from gateway.profiles.plan import ProfilePlan

_DETAIL = 200
_NS_PER_MS = 1_000_000


class _Nowhere:
    """In the place of codecs where none are run."""

    def prepare(self, work: Sequence[CodecWork]) -> None:
        """Do nothing."""

    def decode(
        self,
        codec: CodecPlan,
        payloads: Sequence[bytes],
        ports: Sequence[int | None],
        times_ms: Sequence[int],
    ) -> list[Answer]:
        """Refuse everything."""
        del ports, times_ms
        return [Answer("", f"the codec {codec.name} is not run here")] * len(payloads)


NOWHERE: Codecs = _Nowhere()


class CodecParser:
    """Has payloads decoded by a codec, and parses what it makes of them."""

    def __init__(self, shape: Shape, plan: ProfilePlan, codec: CodecPlan, codecs: Codecs) -> None:
        self._codec = codec
        self._codecs = codecs
        self._json = compile_json(shape, plan)

    def parse(self, frames: Frames) -> Parsed:
        """Return the objects and the failures. Never raises on bad data."""
        answers = self._decode(frames)
        failures = [
            Failure(index, Reason.CODEC_FAILED, answer.error[:_DETAIL])
            for index, answer in enumerate(answers)
            if answer.error
        ]
        good = [index for index, answer in enumerate(answers) if not answer.error]
        parsed = self._json.parse(Frames.bare([answers[index].data.encode() for index in good]))
        failures += [Failure(good[one.index], one.reason, one.detail) for one in parsed.failures]
        return Parsed(parsed.objects, sorted(failures, key=lambda failure: failure.index))

    def _decode(self, frames: Frames) -> list[Answer]:
        return self._codecs.decode(*work_of(self._codec, frames)) if len(frames) else []


def work_of(codec: CodecPlan, frames: Frames) -> CodecWork:
    """Return what a codec is asked of some payloads."""
    ports = [None if port == NO_PORT else port for port in frames.ports.tolist()]
    return CodecWork(codec, frames.payloads, ports, (frames.received_ns // _NS_PER_MS).tolist())
