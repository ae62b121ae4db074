"""`ecluse profile new`: from samples to a profile's folder that is well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cli.command import ecluse

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES = """\
city/lyon/bin/b-1/up {"id":"b-1","ts":1795342500000,"dist_mm":1050,"status":"OK"}
city/lyon/bin/b-1/up {"id":"b-1","ts":1795343400000,"dist_mm":1040,"status":"low"}
city/lyon/bin/b-2/up {"id":"b-2","ts":1795342500000,"dist_mm":300,"status":"OK"}
city/lyon/bin/b-2/up {"id":"b-2","ts":1795343400000,"status":"low"}
"""


def test_a_folder_is_written_that_is_well(tmp_path: Path) -> None:
    """The draft, and what it makes of samples of different shapes: `check` agrees at once."""
    samples = tmp_path / "samples.txt"
    samples.write_text(SAMPLES + "nonsense\n", encoding="utf-8")
    folder = tmp_path / "acme-bin"
    result = ecluse("profile", "new", "--from", samples, "--to", folder)
    assert result.exit_code == 0, result.output
    assert "left out: line 5: is not JSON" in result.stderr
    assert "4 samples read; 3 lines sure, 2 likely, 1 guessed" in result.stderr
    checked = ecluse("profile", "check", folder)
    assert checked.exit_code == 0, checked.output
    assert "acme-bin@1: 2 of 2 golden examples as expected" in checked.stdout


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A profile that somebody mended is worth more than a draft."""
    samples = tmp_path / "samples.txt"
    samples.write_text(SAMPLES, encoding="utf-8")
    (tmp_path / "profile.yaml").write_text("mine", encoding="utf-8")
    result = ecluse("profile", "new", "--from", samples, "--to", tmp_path, "--name", "acme")
    assert result.exit_code == 1
    assert "is there already" in result.stderr
    assert (tmp_path / "profile.yaml").read_text(encoding="utf-8") == "mine"


def test_without_a_folder_the_draft_is_the_output(tmp_path: Path) -> None:
    """What is said about it goes elsewhere, so that it can be piped."""
    samples = tmp_path / "acme.jsonl"
    samples.write_text(SAMPLES, encoding="utf-8")
    result = ecluse("profile", "new", "--from", samples, "--family", "waste")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("# A draft from 4 samples.")
    assert "\nprofile: acme\nversion: 1\nfamily: waste\n" in result.stdout


def test_no_sample_no_draft(tmp_path: Path) -> None:
    """Said with what a sample is."""
    samples = tmp_path / "empty.txt"
    samples.write_text("nonsense\n", encoding="utf-8")
    result = ecluse("profile", "new", "--from", samples)
    assert result.exit_code == 1
    assert "there is no sample" in result.stderr
    missing = ecluse("profile", "new", "--from", tmp_path / "nowhere")
    assert "cannot be read" in missing.stderr
