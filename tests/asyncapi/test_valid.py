"""The AsyncAPI document that profiles are exported as, read by AsyncAPI's own parser."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.profiles.asyncapi import asyncapi
from gateway.profiles.load import load
from tests.cli.command import SHIPPED, ecluse
from tests.processes import binary

HERE = Path(__file__).parent
pytestmark = pytest.mark.npm


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the parser in it, as package-lock.json pins it."""
    npm = binary("npm", "npm")
    folder = tmp_path_factory.mktemp("asyncapi")
    for name in ("package.json", "package-lock.json", "check.mjs"):
        shutil.copy(HERE / name, folder)
    subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True
    )
    return folder


def verdict(parser: Path, document: str) -> list[str]:
    """Return what the parser says, but for remarks that are neither errors nor warnings."""
    done = subprocess.run(
        [binary("node", "nodejs"), "check.mjs"],
        input=document,
        capture_output=True,
        text=True,
        cwd=parser,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if line[:2] not in ("2 ", "3 ")]


def test_the_shipped_profiles_are_a_valid_interface(parser: Path) -> None:
    """Neither an error nor a warning."""
    exported = ecluse("profile", "export", SHIPPED, "--asyncapi")
    assert exported.exit_code == 0, exported.output
    assert verdict(parser, exported.stdout) == ["valid 3.0.0"]


def test_the_parser_finds_what_is_wrong(parser: Path) -> None:
    """Else its silence would mean nothing."""
    document = asyncapi(load(SHIPPED).plans.values(), version="1")
    document["operations"]["receive-bin-level"]["action"] = "listen"
    assert verdict(parser, json.dumps(document))[-1] == "invalid"
