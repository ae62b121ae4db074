"""A backup has what the gateway was told, and none of its secrets."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gateway.backup.configuration import secret_names, without_secrets

SHIPPED = Path(__file__).parents[2] / "deploy" / "ecluse.toml"


def test_the_secrets_are_known_by_the_schema() -> None:
    """A new one is left out without anybody thinking of it."""
    assert secret_names() == {"password", "token"}


@pytest.mark.parametrize(
    "text",
    [
        '[broker]\npassword = "hush"\n',
        'broker.password = "hush"\n',
        "[[sinks]]\nname = 'a'\n  token='hush'\n[http]\n\"token\" = 'hush' # mine\n",
    ],
)
def test_secrets_are_left_out(text: str) -> None:
    """However TOML lets one write them on a line; the rest is as it was."""
    found = without_secrets(text)
    assert found is not None
    cleaned, names = found
    assert "hush" not in cleaned
    assert names
    assert len(cleaned.splitlines()) == len(text.splitlines())
    tomllib.loads(cleaned)


@pytest.mark.parametrize(
    "text",
    [
        'broker = {url = "mqtt://127.0.0.1", password = "hush"}\n',
        '[broker]\npassword = """\nhush"""\n',
        "no toml",
    ],
)
def test_what_cannot_be_told_apart_is_left_out_whole(text: str) -> None:
    """Rather no settings in the backup than a secret."""
    assert without_secrets(text) is None


def test_settings_without_secrets_stay_byte_for_byte() -> None:
    """The file that is shipped keeps its secrets in files of their own."""
    text = SHIPPED.read_text(encoding="utf-8")
    assert without_secrets(text) == (text, ())
