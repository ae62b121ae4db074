"""What a city installs: the unit for systemd goes with what the gateway does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway import config
from gateway.cli.failures import Exit

UNIT = Path(__file__).parents[1] / "deploy" / "systemd" / "ecluse.service"


def of(key: str) -> str:
    """Return a key of the unit, which stands there once."""
    (value,) = re.findall(rf"^{key}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    return str(value)


def test_it_waits_longer_than_a_stop_takes() -> None:
    """Twice the grace: decoding and sinks have that, saving and good-byes the rest."""
    assert float(of("TimeoutStopSec")) >= 2 * config.Settings().stop_grace / 1e9


def test_a_reload_is_a_sighup() -> None:
    """To the gateway itself."""
    assert of("ExecReload") == "/bin/kill -HUP $MAINPID"


def test_it_is_not_started_again_where_a_person_must_mend() -> None:
    """Wrong settings, a name that another gateway has; but after a crash, or where a disk failed."""
    prevented = {int(code) for code in of("RestartPreventExitStatus").split()}
    assert prevented == {Exit.USAGE, Exit.CONFIGURATION, Exit.BROKER}
    assert of("Restart") == "on-failure"


def test_systemd_knows_every_line(tmp_path: Path) -> None:
    """Where systemd is: it finds nothing to complain about but that the program is not installed here."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "ecluse.service"
    unit.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/ecluse/bin/ecluse", "/bin/true"))
    command = [program, "verify", "--man=no", "--recursive-errors=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert "Unknown" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr
