"""The process in which codecs run, and nothing else: no secrets, no files, no network, little memory.

    python -m gateway.codec.worker          # reads requests on its input, until that ends

It ends with the gateway: its input does.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import IO, TYPE_CHECKING, Final

from gateway.codec.engine import HURRIED_S, TIME_S, CodecFailed, Engine, TimedOut
from gateway.codec.exchange import Answers, Open, read_request, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.codec.exchange import Run

ADDRESS_SPACE: Final = 1024**3
OPEN_FILES: Final = 16
PATIENCE: Final = 10
"""How many messages of a request may run out of time before the rest of it is hurried."""
_TOGETHER: Final = 64
_TELL_S: Final = 0.05


def main() -> None:
    """Answer requests until there are none."""
    confine()
    serve(sys.stdin.buffer, sys.stdout.buffer)


def confine() -> None:
    """Give up what a codec must never reach, whatever an engine lets it do."""
    for what, most in (
        (resource.RLIMIT_AS, ADDRESS_SPACE),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
    ):
        resource.setrlimit(what, (most, most))


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer each request, some answers at a time: who asks sees how far it has come."""
    engines: dict[int, Engine] = {}
    while (request := read_request(requests)) is not None:
        if isinstance(request, Open):
            write(answers, Answers([_open(engines, request)]))
            continue
        told: list[str] = []
        since = time.monotonic()
        for text in _run(engines[request.number], request):
            told.append(text)
            if len(told) == _TOGETHER or time.monotonic() - since > _TELL_S:
                write(answers, Answers(told))
                told, since = [], time.monotonic()
        if told:
            write(answers, Answers(told))


def _open(engines: dict[int, Engine], request: Open) -> str:
    try:
        engines[request.number] = Engine(
            request.script, normalize=request.normalize, variables=request.variables
        )
    except CodecFailed as failed:
        return f"-{failed}"
    return ""


def _run(engine: Engine, request: Run) -> Iterator[str]:
    patience = PATIENCE
    engine.hurry(TIME_S)
    for message in request.messages:
        try:
            yield "+" + engine.run(message.payload, message.port, message.time_ms, whole=request.whole)
        except TimedOut as late:
            yield f"-{late}"
            patience -= 1
            if not patience:
                engine.hurry(HURRIED_S)
        except CodecFailed as failed:
            yield f"-{failed}"


if __name__ == "__main__":
    main()
