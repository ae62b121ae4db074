"""Processes that are killed while they write: what they had called durable must be there."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from pathlib import Path


def killed_while_writing(script: Path, *arguments: str, rng: random.Random) -> list[str]:
    """Run a script that prints a line for each thing made durable; kill it in the midst.

    Returns the lines that it had printed, whole ones only.
    """
    command = [sys.executable, "-u", str(script), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = []
        for _ in range(rng.randint(5, 60)):
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr.read().decode()
        process.kill()  # SIGKILL: nothing is flushed, nothing is said
        lines += process.stdout.readlines()
    return [line.decode().strip() for line in lines if line.endswith(b"\n")]
