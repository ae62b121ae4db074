"""One codec in QuickJS: without files, network or clocks of ours, bounded in time, memory, stack and output.

QuickJS is not safe among threads, and an engine may have faults of its own: only `gateway.codec.worker`, a
process that has nothing else, makes one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import quickjs

MB: Final = 1024 * 1024
TIME_S: Final = 0.1
"""CPU time of one message."""
HURRIED_S: Final = 0.002
"""The same, once others have cost too much."""
MEMORY: Final = 32 * MB
STACK: Final = 256 * 1024
OUTPUT: Final = 65_536
"""Characters of JSON."""
_TOO_MUCH: Final = f"it needs more than {MEMORY // MB} MB of memory"
_FILES: Final = Path(__file__).parent
_GLUE: Final = (_FILES / "glue.js").read_text(encoding="utf-8")
_LIBRARIES: Final = ("base64-js", "ieee754", "buffer")
"""What `Buffer` needs, in the order in which one needs the other."""
_BEFORE: Final = (
    "(function ({ Buffer, console, require }) {"
    " const $module = { exports: {} }, module = $module, exports = module.exports; return (function () { "
)
_NAMES: Final = ("decodeUplink", "normalizeUplink", "Decoder", "Decode")


class CodecFailed(Exception):  # noqa: N818 - what a codec says of a message, on its way to an answer
    """A codec that refuses a message, or that fails; the text is its own words."""


class TimedOut(CodecFailed):
    """A message for which the codec took too long."""


class Engine:
    """Runs one codec. Raises CodecFailed where its text is no JavaScript."""

    def __init__(self, script: str, *, normalize: bool = False, variables: str = "{}") -> None:
        """`variables` is a JSON object of texts."""
        self._script = script
        self._normalize = normalize
        self._variables = variables
        self._seconds = TIME_S
        self._begin()

    def run(self, payload: bytes, port: int | None, time_ms: int, *, whole: bool = False) -> str:
        """Return a payload's data as JSON; `whole`: all that `decodeUplink` returns. Raises CodecFailed."""
        try:
            answer: str = self._call(whole, payload.decode("latin-1"), port, time_ms)
        except (quickjs.JSException, quickjs.StackOverflow) as error:
            self._begin()  # nothing that it has left behind is trusted
            raise self._failure(error) from error
        if answer == "-null":  # what a codec catches when there is no memory left even for an error
            self._begin()
            raise CodecFailed(_TOO_MUCH)
        if answer[0] != "+":
            raise CodecFailed(answer[1:])
        return answer[1:]

    def hurry(self, seconds: float) -> None:
        """Bound the CPU time of each message from now on."""
        self._seconds = seconds
        self._context.set_time_limit(seconds)

    def _begin(self) -> None:
        self._context = quickjs.Context()
        self._context.set_memory_limit(MEMORY)
        self._context.set_max_stack_size(STACK)
        self.hurry(self._seconds)
        try:
            begin = self._context.eval(_wrapped(self._script))
            glue = self._context.eval(_GLUE)
            self._call = glue(begin, self._libraries(), self._normalize, self._variables, OUTPUT)
        except quickjs.JSException as error:
            raise CodecFailed(_words(error)) from error

    def _libraries(self) -> quickjs.Object:
        """Return the libraries that the codec may need, by name: functions of CommonJS."""
        names = _LIBRARIES if "Buffer" in self._script else ()
        texts = ((_FILES / "vendor" / name / "index.js").read_text(encoding="utf-8") for name in names)
        made = (
            f"[{json.dumps(name)}, function (exports, module, require) {{ {text}\n }}]"
            for name, text in zip(names, texts, strict=True)
        )
        return self._context.eval(f"[{', '.join(made)}]")

    def _failure(self, error: Exception) -> CodecFailed:
        words = _words(error)
        if "interrupted" in words:
            return TimedOut(f"it took longer than {self._seconds * 1e3:.0f} ms")
        if isinstance(error, quickjs.StackOverflow):
            return CodecFailed("its calls are nested too deep")
        if words == "null" or "out of memory" in words:
            return CodecFailed(_TOO_MUCH)
        return CodecFailed(words)


def _wrapped(script: str) -> str:
    """Return a function around a codec's text; its lines keep their numbers."""
    found = ", ".join(
        f"{name}: typeof {name} === 'function' ? {name} : ($module.exports || {{}}).{name}" for name in _NAMES
    )
    return f"{_BEFORE}{script}\n;return {{ {found} }}; }})(); }})"


def _words(error: Exception) -> str:
    """Return what an exception says, without its trace."""
    return str(error).partition("\n")[0].strip()
