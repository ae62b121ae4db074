"""The pages for integrators and operators say what the code does: keys, formulas, fields, defaults."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway import config
from gateway.profiles import schema
from gateway.profiles.compile import compile_profile
from gateway.profiles.durations import duration_ns
from gateway.profiles.expression import FUNCTIONS
from gateway.profiles.fields import RAW_ROW_FIELDS, WINDOW_ROW_FIELDS, window_fields
from gateway.profiles.golden import _Example, _Golden, read_golden
from gateway.profiles.load import load
from gateway.profiles.plan import Kind, Statistic
from gateway.profiles.quantities import ALLOWED_STATISTICS, DEFAULT_STATISTICS
from gateway.profiles.whole import attached
from gateway.registry.devices import parse_devices
from tests.cli.command import ecluse

if TYPE_CHECKING:
    from pydantic import BaseModel

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
DAY = 86_400 * 10**9

BINARY = (DOCS / "formats" / "binary.md").read_text(encoding="utf-8")
PROFILES, DEVICES, WINDOWS, GUARANTEES = (
    (DOCS / f"{name}.md").read_text(encoding="utf-8")
    for name in ("profiles", "devices", "windows", "guarantees")
)
NEEDED = {
    "profile": "profile: example",
    "version": "version: 1",
    "family": "family: example",
    "topics": 'topics: ["city/{site}/example/{device}/up"]',
    "quantities": "quantities: {battery: {path: bat, unit: V}}",
}
SECTIONS = [
    schema.Document,
    schema.Quantity,
    schema.Time,
    schema.Covers,
    schema.Parameter,
    schema.Flat,
    schema.History,
    schema.Keep,
    schema.Limits,
    schema.Variant,
    _Golden,
    _Example,
]


def examples(page: str, kind: str) -> list[tuple[str, str]]:
    """Return (the comment before it, the text) of each fence of a kind."""
    fence = re.compile(rf"(?:^<!-- ([^\n]*) -->\n)?^```{kind}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [(found[1] or "", found[2]) for found in fence.finditer(page)]


def keys_of(section: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in section.model_fields.items()]


def row(page: str, first: str) -> list[str]:
    """Return the cells of the row of a table that begins so."""
    (found,) = re.findall(rf"^\| {re.escape(first)} \|(.*)\|$", page, re.MULTILINE)
    return [cell.strip() for cell in found.split(" | ")]


def names_in(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


FRAGMENTS = [text for comment, text in examples(PROFILES, "yaml") if not comment]


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=range(len(FRAGMENTS)))
def test_examples_of_profiles_are_accepted(fragment: str) -> None:
    """Each YAML example is a profile, or a part that makes one with the keys that every profile needs."""
    rest = [line for key, line in NEEDED.items() if not re.search(rf"^{key}:", fragment, re.MULTILINE)]
    text = "\n".join([*rest, fragment])
    if "codec:" in text:
        text = attached(text, "codec", "acme-bin.js", "")
    _, problems = compile_profile(text, where="example")
    assert [str(problem) for problem in problems] == []


def test_the_golden_example_is_accepted() -> None:
    """It fits the shipped profile that it is of, and uses every key of the format but one."""
    ((comment, text),) = [pair for pair in examples(PROFILES, "yaml") if pair[0]]
    (plan,) = load(ROOT / comment.rsplit(" ", 1)[-1]).plans.values()
    found, problems = read_golden(text, plan, where="example")
    assert problems == ()
    assert len(found) == 3


FORMATS = sorted((DOCS / "formats").glob("*.md"))
OF_FORMATS = [
    pytest.param(text, id=f"{page.stem}-{number}")
    for page in FORMATS
    for number, (_, text) in enumerate(examples(page.read_text(encoding="utf-8"), "yaml"))
]


@pytest.mark.parametrize("fragment", OF_FORMATS)
def test_examples_of_formats_are_accepted(fragment: str) -> None:
    """As those of the page of profiles."""
    test_examples_of_profiles_are_accepted(fragment)


def test_the_binary_example_is_read_as_it_says(tmp_path: Path) -> None:
    """The first layout of the page, and the bytes of its command."""
    page = (DOCS / "formats" / "binary.md").read_text(encoding="utf-8")
    head = [line for key, line in NEEDED.items() if key != "quantities"]
    folder = tmp_path / "acme-bin"
    folder.mkdir()
    (folder / "profile.yaml").write_text("\n".join([*head, examples(page, "yaml")[0][1]]), encoding="utf-8")
    (hexadecimal,) = re.findall(r"--hex '([0-9a-f ]+)'", page)
    result = ecluse("profile", "try", folder, "--hex", hexadecimal, "--at", "2026-11-22T10:15:02Z")
    assert result.exit_code == 0, result.output
    assert "distance=1050.0,temperature=-3.5,battery=3.6," in result.stdout


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_of_a_profile_is_documented(section: type[BaseModel]) -> None:
    """Each key of each section stands in code in the page."""
    assert [key for key in keys_of(section) if not re.search(rf"`{key}(: [^`]*)?`", PROFILES + BINARY)] == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_documented(name: str) -> None:
    """Each function of formulas stands in the page as it is written."""
    assert f"`{FUNCTIONS[name].usage.split(':')[0]}`" in PROFILES


@pytest.mark.parametrize("key", ["lateness", "max_ahead", "max_age"])
def test_default_durations_of_profiles(key: str) -> None:
    """The durations in the table are the schema's."""
    written = row(PROFILES, f"`{key}`")[1].strip("`")
    assert duration_ns(written) == schema.Document.model_fields[key].default


@pytest.mark.parametrize("key", ["retained", "privacy", "format", "qos"])
def test_defaults_of_profiles(key: str) -> None:
    """The defaults in the table are the schema's."""
    assert row(PROFILES, f"`{key}`")[1] == f"`{schema.Document.model_fields[key].default}`"


@pytest.mark.parametrize("key", schema.Limits.model_fields)
def test_limits_of_profiles(key: str) -> None:
    """The limits in the table are those of the schema."""
    limits = PROFILES.partition("## Limits")[2].partition("## ")[0]
    assert int(row(limits, f"`{key}`")[0]) == schema.Limits.model_fields[key].default


def test_devices_csv_is_accepted() -> None:
    """The example file has no problem with the shipped profiles, and one parameter that changes."""
    ((_, text),) = examples(DEVICES, "csv")
    found = parse_devices(text, load(ROOT / "device_profiles").plans, where="devices.csv")
    assert [str(problem) for problem in found.problems] == []
    assert [value for _, value in found.devices["lyon", "bin-00001"].parameters["empty"]] == [1850, 2100]


@pytest.mark.parametrize("kind", Kind)
def test_statistics_by_kind(kind: Kind) -> None:
    """What a kind has by default and may have stands in the table."""
    default, more = row(WINDOWS, kind.value)
    assert names_in(default) == {str(statistic) for statistic in DEFAULT_STATISTICS[kind]}
    assert names_in(more) | names_in(default) == {str(statistic) for statistic in ALLOWED_STATISTICS[kind]}


def test_every_field_of_a_window_is_documented() -> None:
    """Each field that a profile with all kinds and all statistics writes ends as the table says."""
    quantiles = "quantiles: [0.5, 0.999], "
    more = {Kind.GAUGE: quantiles, Kind.EVENT: quantiles, Kind.STATE: "states: [on], "}
    lines = [line for key, line in NEEDED.items() if key != "quantities"] + ["quantities:"]
    for kind in Kind:
        statistics = ", ".join(sorted(ALLOWED_STATISTICS[kind]))
        lines.append(
            f"  q{kind}: {{path: p{kind}, kind: {kind}, {more.get(kind, '')}statistics: [{statistics}]}}"
        )
    plan, problems = compile_profile("\n".join(lines), where="example")
    assert plan is not None, problems
    quantities = [quantity for group in plan.groups for quantity in group.quantities]
    suffixes = {name.removeprefix(q.name) for q in quantities for name, _ in window_fields(q)}
    told = names_in(WINDOWS)
    assert "`_<state>_seconds`" in WINDOWS
    assert suffixes <= told | {"_on_seconds"}
    assert WINDOW_ROW_FIELDS.keys() <= told
    assert {str(statistic) for statistic in Statistic} <= told


def test_what_raw_points_carry_is_documented() -> None:
    """The fields beside a raw point's quantities are named."""
    pages = PROFILES + (DOCS / "sinks.md").read_text(encoding="utf-8")
    assert RAW_ROW_FIELDS.keys() <= names_in(pages)


def test_the_bounds_are_the_defaults() -> None:
    """The table of bounds states the defaults of the settings."""
    stated = {
        "queue at the broker (`max_queued_bytes`)": ("1 GB", config.Broker().queue, 10**9),
        "memory of unacknowledged uplinks (`broker.memory`)": ("64 MB", config.Broker().memory, 64 * 10**6),
        "packet (`broker.max_packet`)": ("256 kB", config.Broker().max_packet, 256_000),
        "outbox (`outbox.size`)": ("10 GB for each kind of bytes", config.Outbox().size, 10**10),
        "series (`devices.max_series`)": (
            "1,000,000 a profile and set of dimensions",
            config.Devices().max_series,
            10**6,
        ),
        "unknown devices (`devices.max_unknown`)": ("1,000", config.Devices().max_unknown, 1_000),
    }
    for what, (said, default, meant) in stated.items():
        assert row(GUARANTEES, what)[0] == said
        assert default == meant
    assert config.Journal().retention == 7 * DAY
    assert config.Journal().retention_size == 20 * 10**9
    assert config.Checkpoint().every == 5 * 10**9
    assert config.Checkpoint().copy_every == DAY
    assert config.Broker().session_expiry == 7 * DAY
    assert (config.Windows().grace, config.Windows().settle) == (10 * 10**9, 900 * 10**9)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("max_queued_messages", "0", "0 (bytes are the bound)"),
        ("max_queued_bytes", "1000000000", "1 GB"),
        ("max_inflight_messages", "32767", "32,767"),
        ("persistence", "true", "on, saved every 30 s"),
        ("autosave_interval", "30", ""),
        ("queue_qos0_messages", "false", "off"),
        ("max_packet_size", "250000", "250 kB"),
    ],
)
def test_the_brokers_settings(setting: str, value: str, said: str) -> None:
    """What the page says of Mosquitto's settings is in the shipped file."""
    shipped = (ROOT / "deploy" / "mosquitto" / "mosquitto.conf").read_text(encoding="utf-8")
    assert re.search(rf"^{setting} {value}$", shipped, re.MULTILINE)
    if said:
        assert row(GUARANTEES, f"`{setting}`")[0] == said


def test_the_site_builds(tmp_path: Path) -> None:
    """Strictly: every page is in the navigation, and no link or anchor is dead."""
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--quiet",
        "--strict",
        "--site-dir",
        tmp_path / "site",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    pages = {page.stem for page in DOCS.glob("*.md")}
    built = {
        "index" if page.parent.name == "site" else page.parent.name for page in tmp_path.rglob("index.html")
    }
    assert pages <= built


def test_the_readmes_anchors_exist() -> None:
    """A link of the README to a section of a page has its section."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page, anchor in re.findall(r"\]\((docs/[\w.]+)#([^)]+)\)", readme):
        headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
