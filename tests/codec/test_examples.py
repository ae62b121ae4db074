"""Vendors' example files: the three forms, and what a codec that does otherwise looks like."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.codec.examples import NoExamples, codec_text, example_files, read
from gateway.codec.judging import judge
from gateway.codec.sandbox import Sandbox
from tests.cli.command import ecluse as called

if TYPE_CHECKING:
    from collections.abc import Iterator

VENDORS = Path(__file__).parent / "vendors"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox()
    yield made
    made.close()


@pytest.mark.parametrize(("vendor", "number"), [("acme", 3), ("brio", 3), ("cosmo", 2)])
def test_the_three_forms_are_read_and_pass(vendor: str, number: int, sandbox: Sandbox) -> None:
    examples = [one for file in example_files(VENDORS / vendor) for one in read(file)]
    assert len(examples) == number
    for example in examples:
        assert judge([example], codec_text(example.codec), sandbox) == [[]], example.name


@pytest.mark.parametrize(
    ("vendor", "old", "new", "told"),
    [
        ("acme", "/ 10", "/ 5", "data.temperature: expected -1.5, got -3"),
        ("acme", "< 10", "< 5", "warnings: expected 1 elements, got 0"),
        ("acme", "unknown tag", "strange tag", 'errors[0]: expected "unknown tag 9", got "strange tag 9"'),
        ("acme", "air: {", "water: {", 'normalized[0].air: expected {"temperature": -1.5}, got nothing'),
        ("acme", "function normalizeUplink", "function other", "normalizeUplink failed: the codec has no"),
        ("acme", "var data = {}", "return 7; var data = {}", "failed: decodeUplink has returned 7"),
        ("brio", "readUInt32LE(4)", "readUInt32BE(4)", "data.volume: expected 103415, got 4153606400"),
        ("brio", "readUIntLE(0, 4)", "noSuchThing()", "failed: not a function"),
        ("cosmo", "bytes[0] === 1", "'yes'", 'data.occupied: expected true, got "yes"'),
        ("cosmo", "port: fPort", "port: fPort, more: 1", "data.more: expected nothing, got 1"),
    ],
)
def test_what_a_codec_does_otherwise_is_named(
    vendor: str, old: str, new: str, told: str, sandbox: Sandbox
) -> None:
    examples = [one for file in example_files(VENDORS / vendor) for one in read(file)]
    script = codec_text(examples[0].codec)
    assert old in script
    lines = [line for lines in judge(examples, script.replace(old, new), sandbox) for line in lines]
    assert any(told in line for line in lines), lines


def test_a_folder_of_vendors_is_run_with_a_summary() -> None:
    result = called("codec", "test", str(VENDORS))
    assert result.exit_code == 0, result.output
    assert [line.split("│")[1:4] for line in result.output.splitlines() if "acme" in line] == [
        [" acme   ", " 3        ", " 3      "]
    ]
    assert result.output.splitlines()[-1] == "examples=8 passed=8 failed=0"


def test_failures_and_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    shutil.copytree(VENDORS / "acme", tmp_path / "vendor" / "acme")
    codec = tmp_path / "vendor" / "acme" / "acme-bin.js"
    codec.write_text(codec.read_text(encoding="utf-8").replace("/ 10", "/ 100"), encoding="utf-8")
    (tmp_path / "vendor" / "acme" / "test_decode_x.json").write_text("[{", encoding="utf-8")
    result = called("codec", "test", str(tmp_path))
    assert result.exit_code == 1
    assert "data.temperature: expected -1.5, got -0.15" in result.output
    assert "test_decode_x.json: not JSON" in result.output
    assert result.output.splitlines()[-1] == "examples=3 passed=2 failed=1"
    alone = called("codec", "test", str(codec))
    assert "examples=3 passed=2 failed=1" in alone.output


def test_a_missing_codec_fails_its_examples(tmp_path: Path) -> None:
    shutil.copy(VENDORS / "acme" / "acme-bin-codec.yaml", tmp_path)
    result = called("codec", "test", str(tmp_path))
    assert result.exit_code == 1
    assert "the codec acme-bin.js cannot be read" in result.output
    assert "examples=3 passed=0 failed=3" in result.output


def test_where_there_are_none_it_says_so(tmp_path: Path) -> None:
    result = called("codec", "test", str(tmp_path))
    assert result.exit_code != 0
    assert "no examples were found" in result.output
    assert "there is no" in called("codec", "test", str(tmp_path / "nothing")).output


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x-codec.yaml", "uplinkDecoder: {fileName: a.js, examples: [{input: {}}]}"),
        ("x-codec.yaml", "uplinkDecoder: ["),
        ("test_decode_x.json", '[{"input": {"bytes": "zz"}, "expected": {}}]'),
        ("examples.json", '[{"type": "uplink"}]'),
    ],
)
def test_examples_that_are_none_are_refused(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    with pytest.raises(NoExamples):
        read(file)


def test_one_payload_is_run() -> None:
    codec = str(VENDORS / "acme" / "acme-bin.js")
    result = called("codec", "run", codec, "--hex", "0160 0203e8", "--variable", "depth=2000")
    assert result.exit_code == 0, result.output
    assert '"fill": 0.5' in result.output
    refused = called("codec", "run", codec, "--hex", "09")
    assert refused.exit_code == 1
    assert "unknown tag 9" in refused.output
    assert "not pairs" in called("codec", "run", codec, "--hex", "0").output
    assert "must be name=value" in called("codec", "run", codec, "--hex", "00", "--variable", "x").output
