from __future__ import annotations

import pytest

from gateway.console.texts import LANGUAGES, TEXTS, language


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("fr-FR,fr;q=0.9,en;q=0.8", "fr"),
        ("en-GB,en;q=0.9,fr;q=0.8", "en"),
        ("de,fr;q=0.5,en;q=0.6", "en"),
        ("de-DE", "en"),
        ("", "en"),
        ("fr;q=bad,en;q=0.1", "en"),
        ("FR", "fr"),
        (",;q=,fr" + ",x" * 10_000, "fr"),
    ],
)
def test_the_browser_chooses(accept: str, chosen: str) -> None:
    """The best of its wishes that we speak, English where it wishes neither."""
    assert language(accept) == chosen


def test_every_text_is_in_both_languages() -> None:
    """And is not empty."""
    for key, texts in TEXTS.items():
        assert set(texts) == set(LANGUAGES), key
        assert all(texts.values()), key
