"""What a backup says of itself: each file with its size and checksum, and the places that they agree on.

It is written last: a folder without one is no backup. It carries a checksum of its own, so that what
it says of the others can be believed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from gateway.errors import BackupError

NAME = "manifest.json"
FORMAT = 1
STATE, CONFIGURATION = "state", "configuration"
"""The folders of a backup: what restores into the state folder, and what the gateway was told."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of a backup: its path below the backup's folder, size in bytes, SHA-256 in hexadecimal."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """All of a backup.

    `version` is the Écluse that made it, `made` when (RFC 3339). `position` is the state's place in the
    journal, which holds `first` to `end` (`first` is `end` + 1 where it holds nothing). `notes` are
    sentences for the person who restores it.
    """

    version: str
    made: str
    position: int
    first: int
    end: int
    files: tuple[Kept, ...]
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """All files together."""
        return sum(file.bytes for file in self.files)

    def under(self, folder: str) -> tuple[Kept, ...]:
        """Return the files below one folder of the backup."""
        return tuple(file for file in self.files if file.name.startswith(f"{folder}/"))

    def encode(self) -> bytes:
        """Return it as JSON, with its checksum."""
        body = {"format": FORMAT, **asdict(self)}
        return (json.dumps({**body, "sha256": _seal(body)}, indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def decode(cls, text: bytes, *, where: object) -> Manifest:
        """Return what `encode` gave. Raises BackupError: damaged, or of another version; `where` names it."""
        body = _opened(text, where=where)
        try:
            files = tuple(Kept(str(f["name"]), int(f["bytes"]), str(f["sha256"])) for f in body["files"])
            places = (int(body["position"]), int(body["first"]), int(body["end"]))
            found = cls(str(body["version"]), str(body["made"]), *places, files, tuple(body["notes"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BackupError(f"{where} is no manifest of a backup: {error!r}") from error
        for file in files:
            _require_inside(file.name, where=where)
        return found


def _opened(text: bytes, *, where: object) -> dict[str, Any]:
    """Return the JSON object, its checksum taken off and found right."""
    hint = "take another backup: what this one says of its files cannot be believed"
    try:
        body = json.loads(text)
        seal = body.pop("sha256")
        version = body["format"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupError(f"{where} is damaged: it is no manifest", hint=hint) from error
    if isinstance(version, int) and version > FORMAT:
        hint = "restore it with the version of Écluse that made it, or a newer one"
        raise BackupError(f"{where} has format version {version}; this Écluse knows {FORMAT}", hint=hint)
    if seal != _seal(body):
        raise BackupError(f"{where} is damaged: its checksum does not match", hint=hint)
    found: dict[str, Any] = body
    return found


def _seal(body: dict[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _require_inside(name: str, *, where: object) -> None:
    """Refuse a name that would be written outside of the folder that is restored into."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.parts[:1] not in {(STATE,), (CONFIGURATION,)}:
        raise BackupError(f"{where} names a file outside of it: {name}", hint="it was not made by Écluse")
