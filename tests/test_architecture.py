"""Who may import whom: the contracts of pyproject.toml, and what a list of imports can tell."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]

ADAPTERS = {
    "paho": {"registry/broker_check.py"},  # the reason codes of aiomqtt's answers
    "aiomqtt": {"registry/broker_check.py", "registry/listening.py", "sinks/mqtt.py"},
    "influxdb_client": {"sinks/influx.py"},
    "aiohttp": {"sinks/influx.py"},
    "duckdb": {
        "sinks/embedded_store.py",
        "sinks/embedded_sql.py",
        "sinks/embedded_upkeep.py",
        "sinks/embedded_removal.py",
    },
    "prometheus_client": {"health/collector.py", "api/server.py"},
    "starlette": {"api/server.py", "api/profiles.py", "api/quarantine.py", "api/questions.py"},
    "uvicorn": {"web.py"},
    "jinja2": {"console/page.py"},
    "yaml": {"profiles/document.py"},
    "cbor2": {"decode/formats/cbor.py"},
    "quickjs": {"codec/engine.py"},
    "msgspec": {
        "codec/exchange.py",
        "decode/shape.py",
        "decode/times.py",
        "decode/identity.py",
        "decode/envelopes.py",
        "decode/link_facts.py",
        "decode/formats/json_payload.py",
        "decode/formats/binary.py",  # catches what converting raises
        "decode/formats/senml.py",
        "decode/formats/parsing.py",  # what every format that gives plain values is judged by
    },
}
"""A third-party client, and where alone it may be imported: one adapter, which may be of several files."""

SQLITE = {
    "durable.py",
    "damage.py",
    "journal/",
    "sinks/outbox_check.py",
    "sinks/outbox_file.py",
    "sinks/outbox_rows.py",
    "sinks/outbox_rescue.py",
    "quarantine/",
    "registry/",
}
"""Where SQLite is spoken; everyone else asks these."""

TERMINAL = {"typer", "rich", "click"}


def imports(file: Path) -> Iterator[str]:
    """Yield the top-level packages that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


IMPORTS = {
    file.relative_to(ROOT / "gateway").as_posix(): set(imports(file))
    for file in sorted((ROOT / "gateway").rglob("*.py"))
}


@pytest.fixture(scope="module")
def verdict() -> str:
    """What import-linter says, all rules at once: drawing the graph takes longest."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return f"{done.stdout}{done.stderr}"


@pytest.mark.parametrize("contract", CONTRACTS["contracts"], ids=lambda contract: contract["id"])
def test_a_rule_of_importing_holds(contract: dict[str, str], verdict: str) -> None:
    """The rule's own sentence stands in the report, as kept; if not, the report says who broke it."""
    assert f"{contract['name']} KEPT" in verdict, f"{contract['name']}\n\n{verdict}"


@pytest.mark.parametrize("client", ADAPTERS)
def test_a_client_has_one_adapter(client: str) -> None:
    """Changing a library is a matter of one place; foreign exceptions are translated there."""
    found = {file for file, used in IMPORTS.items() if client in used}
    assert found <= ADAPTERS[client], f"{client} is imported outside its adapter"
    assert found, f"{client} is imported nowhere: take it off this list"


def test_sqlite_is_spoken_in_few_rooms() -> None:
    """Journal, state, outbox, quarantine, registry, and what they share."""
    found = {file for file, used in IMPORTS.items() if "sqlite3" in used}
    assert not {file for file in found if not any(file.startswith(room) for room in SQLITE)}


def test_the_terminal_belongs_to_the_commands() -> None:
    """Nothing else prints, or reads options."""
    found = {file for file, used in IMPORTS.items() if used & TERMINAL}
    assert not {file for file in found if not file.startswith("cli/")}


def test_only_the_clock_reads_the_time() -> None:
    """Time is an argument; what measures otherwise (log, demonstration, a child) is not the river's."""
    found = {file for file, used in IMPORTS.items() if "time" in used}
    assert found <= {"clock.py", "logs.py", "demo/parts.py", "cli/demo.py", "codec/worker.py"}


def test_the_documentation_lists_the_rules() -> None:
    """Each contract's sentence stands in docs/architecture.md."""
    text = " ".join((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split())
    missing = [contract["name"] for contract in CONTRACTS["contracts"] if contract["name"] not in text]
    assert not missing
