"""Our side of the codecs: payloads in, their data as JSON out, whatever a codec does.

A message costs only itself: one that ends the process, or keeps it from answering, is found and refused, and
a new process goes on behind it. Called from any thread, one at a time.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final

import structlog

from gateway.codec.exchange import Answers, Message, Open, Run, read_answers, write
from gateway.ports import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.ports import CodecWork
    from gateway.profiles.codec import CodecPlan

COMMAND: Final = (sys.executable, "-I", "-m", "gateway.codec.worker")
SILENCE_S: Final = 10.0
"""Without an answer for so long, the process is ended: one message is bounded far below."""
AT_A_TIME: Final = 1_000
MAX_DEATHS: Final = 3
"""How many messages of one call may end the process before the rest of it is refused."""
MAX_ENGINES: Final = 200
"""Codecs in one process: with more, it is begun anew."""
_SUSPECTS: Final = 64
"""At most so many messages are in the process's hands without an answer."""
log = structlog.get_logger("ecluse")


_Key = tuple[bytes, int | None, int]


class _Lost(Exception):  # noqa: N818 - on its way to an answer; it never leaves this file
    """The process has ended, or answers no more."""


class Sandbox:
    """Runs codecs in a process of their own, started when the first is needed."""

    def __init__(self, command: Sequence[str] = COMMAND, *, silence_s: float = SILENCE_S) -> None:
        self._command = command
        self._silence_s = silence_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers: dict[CodecPlan, tuple[int, str]] = {}
        """Codecs that the process knows: their numbers, and what is wrong with them."""
        self._prepared: dict[CodecPlan, dict[_Key, Answer]] = {}
        """Answers to what will be asked next."""

    def decode(
        self,
        codec: CodecPlan,
        payloads: Sequence[bytes],
        ports: Sequence[int | None],
        times_ms: Sequence[int],
        *,
        whole: bool = False,
    ) -> list[Answer]:
        """Return an answer to each payload, in order. Never raises for what a codec does.

        `whole`: all that `decodeUplink` returns, errors too, and not its data alone.
        """
        messages = list(map(Message, payloads, ports, times_ms))
        known = None if whole else self._prepared.get(codec)
        if known is None:
            return self._answers(codec, messages, whole=whole)
        new = [one for one in messages if _key(one) not in known]
        found = dict(zip(map(_key, new), self._answers(codec, new, whole=False), strict=True))
        return [known.get(key) or found[key] for key in map(_key, messages)]

    def prepare(self, work: Sequence[CodecWork]) -> None:
        """Decode what `decode` will be asked next, and forget what was prepared before."""
        prepared: dict[CodecPlan, dict[_Key, Answer]] = {}
        for codec, payloads, ports, times_ms in work:
            messages = list(map(Message, payloads, ports, times_ms))
            answers = self._answers(codec, messages, whole=False)
            prepared.setdefault(codec, {}).update(zip(map(_key, messages), answers, strict=True))
        self._prepared = prepared

    def _answers(self, codec: CodecPlan, messages: Sequence[Message], *, whole: bool) -> list[Answer]:
        with self._lock:
            answers: list[Answer] = []
            alone = deaths = 0
            while len(answers) < len(messages):
                left = messages[len(answers) : len(answers) + (1 if alone else AT_A_TIME)]
                before = len(answers)
                try:
                    self._run(codec, left, answers, whole=whole)
                except _Lost as lost:
                    self._end()
                    if len(left) == 1:
                        log.warning("a codec has ended its process", codec=codec.name, why=str(lost))
                        answers.append(Answer("", f"the codec's process has ended: {lost}"))
                        deaths += 1
                    alone = _SUSPECTS
                    if deaths == MAX_DEATHS:
                        why = f"not tried: {MAX_DEATHS} messages before it have ended the codec's process"
                        answers += [Answer("", why)] * (len(messages) - len(answers))
                else:
                    alone = max(0, alone - (len(answers) - before))
            return answers

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._end()

    def _run(
        self, codec: CodecPlan, messages: Sequence[Message], answers: list[Answer], *, whole: bool
    ) -> None:
        """Have messages decoded; answers are added as they come. Raises _Lost."""
        number, wrong = self._number(codec)
        if wrong:
            answers += [Answer("", wrong)] * len(messages)
            return
        self._tell(Run(number, list(messages), whole))
        missing = len(messages)
        while missing > 0:
            texts = self._hear().texts
            answers += [Answer(text[1:], "") if text[:1] == "+" else Answer("", text[1:]) for text in texts]
            missing -= len(texts)

    def _number(self, codec: CodecPlan) -> tuple[int, str]:
        if self._process is None:
            self._begin()
        if len(self._numbers) >= MAX_ENGINES and codec not in self._numbers:
            self._end()
            self._begin()
        known = self._numbers.get(codec)
        if known is None:
            number = len(self._numbers)
            self._tell(Open(number, codec.script, codec.normalize, json.dumps(dict(codec.variables))))
            known = self._numbers[codec] = number, self._hear().texts[0][1:]
        return known

    def _begin(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            self._command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}, cwd="/"
        )

    def _end(self) -> None:
        process, self._process = self._process, None
        self._numbers.clear()
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        process.wait()

    def _tell(self, request: Open | Run) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            write(process.stdin, request)
        except OSError as error:
            raise _Lost(_how(process)) from error

    def _hear(self) -> Answers:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], self._silence_s)
        if not ready:
            raise _Lost(f"it did not answer within {self._silence_s:g} s")
        try:
            answers = read_answers(process.stdout)
        except (OSError, ValueError) as error:
            raise _Lost(f"it answered nonsense: {error}") from error
        if answers is None or not answers.texts:
            raise _Lost(_how(process))
        return answers


def _key(message: Message) -> _Key:
    return message.payload, message.port, message.time_ms


def _how(process: subprocess.Popen[bytes]) -> str:
    """Say how a process ended."""
    try:
        code = process.wait(1)
    except subprocess.TimeoutExpired:
        return "it closed its answers"
    return f"signal {-code}" if code < 0 else f"exit {code}"
