"""A setting, a metric, a command, an option or a reason without documentation fails here."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer.main
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway import config
from gateway.books import ReadingBook, UplinkBook
from gateway.cli.failures import Exit
from gateway.cli.main import application
from gateway.config_reference import environment_name, reference, settings_names, with_reference
from gateway.health.collector import SnapshotCollector
from gateway.model import Reason
from tests.pages import snapshot
from tests.processes import binary

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_the_table_of_settings_is_the_settings() -> None:
    """Made from the schema: renew it with `gateway.config_reference.with_reference`."""
    text = page("configuration.md")
    assert with_reference(text) == text


def test_every_setting_says_what_it_does() -> None:
    """A default alone explains nothing."""
    for line in reference().splitlines():
        if line.startswith("| `"):
            assert len(line.split("|")[3].strip()) > 10, line


@pytest.mark.parametrize("setting", sorted(settings_names()))
def test_the_example_names_every_setting(setting: str) -> None:
    """Set, or commented out with its default; but secrets that belong elsewhere, and the demo's."""
    text = (ROOT / "deploy" / "ecluse.toml").read_text(encoding="utf-8")
    section, _, name = setting.rpartition(".")
    elsewhere = {"broker.password", "sinks.token", "http.token", "time_scale_file"}
    of_influx_1 = {"sinks.username", "sinks.create"}
    if setting in elsewhere | of_influx_1:
        return
    assert re.search(rf"^(# )?{name} = ", text, re.MULTILINE), f"{section}: {name}"


def test_the_example_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, and with every default that it shows uncommented: those are the defaults."""
    for name in list(settings_names()):
        monkeypatch.delenv(environment_name(name), raising=False)
    file = ROOT / "deploy" / "ecluse.toml"
    settings = config.load(file)
    assert [sink.name for sink in settings.sinks] == ["influx", "embedded"]
    text = re.sub(r"^# (\w+ = )", r"\1", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    shown = {name for name in re.findall(r"^(\w+) = ", text, re.MULTILINE) if not name.endswith("_file")}
    defaults = config.Settings()
    for section in ("journal", "checkpoint", "outbox", "windows", "quarantine", "log"):
        assert getattr(settings, section) == getattr(defaults, section)
    assert {"grace", "per_device", "level"} <= shown


def test_the_defaults_shown_in_the_example_are_the_defaults(tmp_path: Path) -> None:
    """Uncommenting them changes nothing."""
    text = (ROOT / "deploy" / "ecluse.toml").read_text(encoding="utf-8")
    # Paths to certificates show where they would be; they have no default.
    uncommented = re.sub(r"^# (?!\w+_file)(\w+ = )", r"\1", text, flags=re.MULTILINE)
    (tmp_path / "as-is.toml").write_text(text, encoding="utf-8")
    (tmp_path / "uncommented.toml").write_text(uncommented, encoding="utf-8")
    assert uncommented != text
    assert config.load(tmp_path / "uncommented.toml") == config.load(tmp_path / "as-is.toml")


def metrics() -> Iterator[str]:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SnapshotCollector(snapshot))
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        yield f"{family.name}_total" if family.type == "counter" else family.name


@pytest.mark.parametrize("metric", sorted(metrics()))
def test_every_metric_is_documented(metric: str) -> None:
    """In a row of its own."""
    assert re.search(rf"^\| `{metric}[`{{]", page("health.md"), re.MULTILINE)


def test_no_metric_is_documented_that_there_is_not() -> None:
    """One that was renamed."""
    documented = set(re.findall(r"^\| `(ecluse_\w+)", page("health.md"), re.MULTILINE))
    assert documented == set(metrics())


@pytest.mark.prometheus
def test_the_alarms_are_good_promql(tmp_path: Path) -> None:
    """Each expression of the table, for the real promtool; and each names metrics that there are."""
    table = page("health.md").split("## What to alarm on")[1]
    rows = [line.replace("\\|", "\x00").split("|") for line in table.splitlines() if line.startswith("| ")][
        1:
    ]
    expressions = [re.findall(r"`([^`]+)`", row[2].replace("\x00", "|"))[0] for row in rows]
    assert len(expressions) >= 8
    rules = "".join(
        f"  - alert: A{number}\n    expr: '{expression}'\n" for number, expression in enumerate(expressions)
    )
    file = tmp_path / "rules.yml"
    file.write_text(f"groups:\n- name: ecluse\n  rules:\n{rules}", encoding="utf-8")
    command = [binary("promtool", "prometheus"), "check", "rules", str(file)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(expressions)} rules found" in checked.stdout
    named = {name for expression in expressions for name in re.findall(r"ecluse_\w+", expression)}
    assert named <= set(metrics())


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_documented(reason: Reason) -> None:
    """What it means and what to do: a row of its own, with both cells filled."""
    row = re.search(rf"^\| `{reason}` \| (.+) \| (.+) \|$", page("rejections.md"), re.MULTILINE)
    assert row is not None
    assert min(len(row[1]), len(row[2])) > 20


def test_every_column_of_the_books_is_documented() -> None:
    """In words or as a label."""
    text = page("health.md")
    for column in [*UplinkBook.__dataclass_fields__, *ReadingBook.__dataclass_fields__]:
        assert column in text or column.replace("_", " ") in text, column


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command with its full name."""

    def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield name, command
        for own, one in (inner or {}).items():
            yield from walk(f"{name} {own}", one)

    yield from walk("ecluse", typer.main.get_command(application()))


@pytest.mark.parametrize(("name", "command"), sorted(commands()), ids=str)
def test_every_command_is_documented(name: str, command: Any) -> None:
    """With a heading, and below it all of its options but --config and --help."""
    text = page("commands.md")
    found = re.search(rf"^(##+) `{name}[^`]*`$", text, re.MULTILINE)
    assert found is not None
    section = re.split(r"^##+ `", text[found.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    for parameter in command.params:
        if parameter.param_type_name == "option" and not parameter.hidden:
            long = next(option for option in parameter.opts if option.startswith("--"))
            if long not in ("--config", "--help"):
                assert f"`{long}`" in section, long


@pytest.mark.parametrize("code", list(Exit))
def test_every_exit_code_is_documented(code: Exit) -> None:
    """In the table at the top."""
    assert re.search(rf"^\| {int(code)} \| \w", page("commands.md"), re.MULTILINE)


def test_no_page_links_to_nowhere() -> None:
    """Pages link to each other by names that there are, and to the navigation's."""
    known = {file.name for file in DOCS.glob("*.md")}
    navigation = set(
        re.findall(r": (\w+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    )
    for file in DOCS.glob("*.md"):
        links = set(re.findall(r"\]\((\w[\w-]*\.md)", file.read_text(encoding="utf-8")))
        assert links <= known | navigation, file.name
