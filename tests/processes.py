"""Real servers for tests: started on free loopback ports, in temporary folders, ended by their own id."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


# Below the ports that the system hands out by itself: between our look and the server's start nothing else
# takes one, which happened while four test processes ran. Each process walks a stretch of its own.
PORTS = range(10_000, 32_000)
_walk = itertools.count(os.getpid() * 997)


def free_port() -> int:
    """Return a loopback TCP port that was free a moment ago."""
    for step in itertools.islice(_walk, len(PORTS)):
        port = PORTS[step % len(PORTS)]
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(errno.EADDRINUSE, f"no free port from {PORTS.start} to {PORTS.stop - 1}")


def port_open(port: int) -> bool:
    """Tell whether something accepts connections on that loopback port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        return True
    return False


def wait_until(condition: Callable[[], bool], *, within_s: float, what: str) -> None:
    """Poll until the condition holds. Raises AssertionError naming `what` when time is up."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {within_s} s")


def binary(name: str, package: str) -> str:
    """Return a server's path; skip the test by name where the Debian package is missing."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin")
    if found is None:
        pytest.skip(f"needs the Debian package {package}")
    return found


@contextlib.contextmanager
def server(
    command: Sequence[str], *, log: Path, ready: Callable[[], bool], within_s: float = 15
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; its output goes to `log`."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        wait_until(
            lambda: process.poll() is not None or ready(), within_s=within_s, what=f"{command[0]} ready"
        )
        if process.poll() is not None:
            raise AssertionError(f"{command[0]} ended at once: {log.read_text(errors='replace')[-2000:]}")
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started: politely, then for good."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait(timeout=10)
