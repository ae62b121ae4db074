"""The README is true: its files and commands are those of a new user, and its outputs are compared.

A fence after `<!-- file: NAME -->` is written to NAME. In a `console` fence each line after `$ ` is run
with bash; the lines below are what it must print: in this order, with `…` for any text and a line `…` for
any lines. A command that ends with `&` stays, once it has printed them. After `<!-- soon -->` a command
that must print something is run again until it has. Ports are free ones instead of those that the README
names.
"""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.profiles.schema import Document
from tests.processes import binary, free_port, stop, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PORTS = ("1883", "8080")
COMMAND_S = 90
SOON_S = 30

_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[a-z ]+)(?:: (?P<name>[^>]*))? -->\n)?^```(?P<kind>\w+)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Fence:
    """An example of the README."""

    mark: str
    name: str
    kind: str
    body: str


@dataclass
class Step:
    """A command and the lines that it must print."""

    command: str
    expected: list[str] = field(default_factory=list)


def fences() -> list[Fence]:
    return [Fence(f["mark"] or "", f["name"] or "", f["kind"], f["body"]) for f in _FENCE.finditer(README)]


def steps(body: str) -> list[Step]:
    found: list[Step] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append(Step(line.removeprefix("$ ")))
        else:
            found[-1].expected.append(line)
    return found


def missing(expected: list[str], printed: str) -> str:
    """Return the first expected line that was not printed behind those before it; empty where all were."""
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    at, anywhere = 0, False
    for wanted in expected:
        if wanted == "…":
            anywhere = True
            continue
        pattern = ".*".join(re.escape(part) for part in " ".join(wanted.split()).split("…"))
        places = range(at, len(lines) if anywhere else min(at + 1, len(lines)))
        place = next((place for place in places if re.fullmatch(pattern, lines[place])), None)
        if place is None:
            return wanted
        at, anywhere = place + 1, False
    return "" if anywhere or at >= len(lines) or not expected else f"(nothing more, but: {lines[at]})"


class User:
    """Someone with a terminal in an empty folder, and `ecluse` on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = {port: str(free_port()) for port in PORTS}
        scripts = sysconfig.get_path("scripts")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ECLUSE_")}
        self._environment = {
            **kept,
            "PATH": f"{scripts}:{os.environ['PATH']}:/usr/sbin",
            "COLUMNS": "200",
            # A default that the README names, and that no file of the README sets.
            "ECLUSE_HTTP__PORT": self._ports["8080"],
        }
        self._background: list[subprocess.Popen[bytes]] = []

    def write(self, name: str, text: str) -> None:
        """Put a file of the README into the folder."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._ported(text), encoding="utf-8")

    def do(self, body: str, *, soon: bool = False) -> None:
        """Run the commands of a fence, and compare what they print."""
        for step in steps(self._ported(body)):
            if step.command.endswith("&"):
                self._stay(step)
                continue
            deadline = time.monotonic() + (SOON_S if soon and step.expected else 0)
            while wrong := self._wrong(step):
                if time.monotonic() >= deadline:
                    pytest.fail(wrong)

    def close(self) -> None:
        """End what stayed, the last one first."""
        for process in reversed(self._background):
            stop(process)

    def _ported(self, text: str) -> str:
        for port, free in self._ports.items():
            text = text.replace(port, free)
        return text

    def _wrong(self, step: Step) -> str:
        done = subprocess.run(
            ["bash", "-c", step.command],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        if done.returncode:
            return f"$ {step.command} ended with {done.returncode}:\n{done.stdout}"
        line = missing(step.expected, done.stdout)
        return f"$ {step.command} did not print «{line}», but:\n{done.stdout}" if line else ""

    def _stay(self, step: Step) -> None:
        log = self.folder / f"background-{len(self._background)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {step.command.removesuffix('&')}"],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self._background.append(process)
        wait_until(
            lambda: (
                process.poll() is not None
                or not missing(["…", *step.expected, "…"], log.read_text(encoding="utf-8"))
            ),
            within_s=SOON_S,
            what=f"$ {step.command} prints {step.expected}",
        )
        assert process.poll() is None, log.read_text(encoding="utf-8")


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    found = User(tmp_path)
    try:
        yield found
    finally:
        found.close()


def test_a_first_sensor_of_your_own(user: User) -> None:
    """Who does what the README says sees what the README shows."""
    binary("mosquitto", "mosquitto")
    binary("mosquitto_pub", "mosquitto-clients")
    own = [fence for fence in fences() if fence.mark in ("", "file", "soon") and fence.kind != "text"]
    for fence in own:
        if fence.mark == "file":
            user.write(fence.name, fence.body)
        else:
            assert fence.kind == "console", f"a fence that is neither a file nor commands: {fence.body[:60]}"
            user.do(fence.body, soon=fence.mark == "soon")


def test_the_demonstration_ends_by_itself(user: User) -> None:
    """It prints what the README says, and exits with 0."""
    (demo,) = [fence for fence in fences() if fence.mark == "demo"]
    user.do(demo.body)


def test_what_is_not_run_are_goals_of_the_makefile() -> None:
    """Nothing but make commands is left out, and each is a goal of the Makefile."""
    goals = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {fence.mark for fence in fences()} == {"", "file", "soon", "demo", "not run"}
    left_out = [step.command for fence in fences() if fence.mark == "not run" for step in steps(fence.body)]
    assert left_out
    assert {command.removeprefix("make ") for command in left_out} <= goals


def test_the_first_profile_is_short() -> None:
    """A first sensor takes under 20 lines."""
    (profile,) = [fence for fence in fences() if fence.kind == "yaml"]
    assert len(profile.body.splitlines()) < 20


def test_the_bounds_that_the_readme_states_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of guarantees names the real defaults."""
    from gateway.config import Settings

    for name in [name for name in os.environ if name.startswith("ECLUSE_")]:
        monkeypatch.delenv(name)
    settings = Settings()
    assert settings.broker.queue == 10**9
    assert settings.broker.session_expiry == 7 * 86_400 * 10**9
    assert settings.outbox.size == 10 * 10**9
    assert (settings.quarantine.per_device, settings.quarantine.total) == (1_000, 100_000)
    assert Document.model_fields["lateness"].default == 72 * 3_600 * 10**9
    assert Document.model_fields["max_age"].default == 30 * 86_400 * 10**9
    for stated in (
        "| 1 GB |",
        "| 7 d |",
        "| 10 GB |",
        "1,000 a device and reason, 100,000 in all",
        "72 h",
        "30 d",
    ):
        assert stated in README


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README))))
def test_links_lead_somewhere(target: str) -> None:
    """A link to a file of the repository has its file."""
    assert (ROOT / target).is_file()


@pytest.mark.parametrize(
    ("expected", "printed", "found"),
    [
        (["a …", "…", "c"], "a 1\nb\nc\n", ""),
        (["a", "c"], "a\nb\nc\n", "c"),
        (["a"], "a\nb\n", "(nothing more, but: b)"),
        (["…", "b"], "a\nb\n", ""),
        (["a", "b"], "a\n", "b"),
        ([], "anything\n", ""),
    ],
)
def test_outputs_are_compared(expected: list[str], printed: str, found: str) -> None:
    """A line that is missing, another, or left unsaid is found."""
    assert missing(expected, printed) == found
