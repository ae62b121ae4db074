"""Profiles from files: a bad one is refused with line and reason, the others load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.errors import Problem
from gateway.profiles.codec import MAX_BYTES as CODEC_BYTES
from gateway.profiles.compile import compile_profile
from gateway.profiles.document import MAX_BYTES, Fault, compose
from gateway.profiles.together import check_together
from gateway.profiles.whole import attached, detached

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.profiles.document import Place
    from gateway.profiles.plan import ProfilePlan

FILE_NAME = "profile.yaml"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What could be loaded, by name, and what could not, with every reason.

    `files` says where each plan comes from: its golden payloads and its README stand beside it.
    """

    plans: Mapping[str, ProfilePlan]
    problems: tuple[Problem, ...]
    files: Mapping[str, Path]
    referred: tuple[Path, ...] = ()
    """Files that profiles name: what they extend, codecs; also those that are not there."""


def load(path: Path) -> Loaded:
    """Load a profile's file, a profile's folder, or a folder of profiles' folders and files.

    Never raises for what is in the files, nor for a path that is not there: that is a problem too.
    Profiles of a folder are taken in the order of their names; of two that clash the later is refused.
    """
    files = profile_files(path)
    if not files:
        hint = f"a profile is a file, or a folder that holds {FILE_NAME}"
        return Loaded(plans={}, problems=(Problem(str(path), "there is no profile here", hint),), files={})
    plans: list[tuple[Path, ProfilePlan]] = []
    problems: list[Problem] = []
    referred: list[Path] = []
    for file in files:
        plan, faults = _load_file(file, referred)
        problems.extend(faults)
        if plan is not None:
            problems.extend(clashes := _clashes(file, plan, [known for _, known in plans]))
            if not clashes:
                plans.append((file, plan))
    return Loaded(
        plans={plan.name: plan for _, plan in plans},
        problems=tuple(problems),
        files={plan.name: file for file, plan in plans},
        referred=tuple(dict.fromkeys(referred)),
    )


def profile_files(path: Path) -> list[Path]:
    """Return the profiles' files that a path means, sorted; none where there is none."""
    if path.is_file():
        return [path]
    if (path / FILE_NAME).is_file():
        return [path / FILE_NAME]
    if not path.is_dir():
        return []
    loose = [file for file in path.iterdir() if file.suffix in (".yaml", ".yml") and file.is_file()]
    return sorted([*loose, *path.glob(f"*/{FILE_NAME}")])


def _load_file(file: Path, referred: list[Path]) -> tuple[ProfilePlan | None, tuple[Problem, ...]]:
    try:
        text = _text(file, MAX_BYTES)
    except _Unreadable as wrong:
        return None, (Problem(str(file), f"the profile {wrong}", wrong.hint),)
    try:
        return compile_profile(_whole(text, file, referred), where=str(file))
    except _Unreadable as wrong:
        source = compose(text, str(file))
        return None, (source.problem(Fault(wrong.place, str(wrong), wrong.hint)),)


class _Unreadable(Exception):  # noqa: N818 - what is wrong with a file, on its way to a problem
    """A file that cannot be read; `place` is where the profile names it."""

    place: Place = ()
    hint = "its path begins at the profile's folder"


def _whole(text: str, file: Path, referred: list[Path]) -> str:
    """Return a profile's text, and behind it what it refers to, whose paths join `referred`.

    Raises _Unreadable.
    """
    if ("extends" not in text and "codec" not in text) or detached(text).yaml != text:
        return text
    data = compose(text, str(file)).data
    extends = data.get("extends") if isinstance(data, dict) else None
    below, folder = None, file.parent
    if isinstance(extends, str):
        base = file.parent / extends
        base = base / FILE_NAME if base.is_dir() else base
        referred.append(base)
        body = _named(base, MAX_BYTES, f"what it extends, {base},", ("extends",))
        text = attached(text, "extends", extends, body)
        below, folder = compose(body, str(base)).data, base.parent
    own = _codec_of(data)
    name = own or _codec_of(below)
    if name is None:
        return text
    script = (file.parent if own else folder) / name
    referred.append(script)
    place = ("codec", "file") if own else ("extends",)
    return attached(text, "codec", name, _named(script, CODEC_BYTES, f"the codec {script}", place))


def _codec_of(data: Any) -> str | None:  # noqa: ANN401 - plain data
    """Return the codec's file that a profile names."""
    codec = data.get("codec") if isinstance(data, dict) else None
    name = codec.get("file") if isinstance(codec, dict) else None
    return name if isinstance(name, str) else None


def _named(file: Path, most: int, what: str, place: Place) -> str:
    """Return the text of a file that a profile names. Raises _Unreadable."""
    try:
        return _text(file, most)
    except _Unreadable as wrong:
        told = _Unreadable(f"{what} {wrong}")
        told.place = place
        raise told from wrong


def _text(file: Path, most: int) -> str:
    """Return a file's text. Raises _Unreadable."""
    try:
        if file.stat().st_size > most:
            raise _Unreadable(f"is longer than {most} bytes")
        return file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise _Unreadable(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _Unreadable(f"is not UTF-8 (byte {error.start})") from error


def _clashes(file: Path, plan: ProfilePlan, known: list[ProfilePlan]) -> list[Problem]:
    found = check_together([*known, plan])
    return [Problem(str(file), what, hint) for later, what, hint in found if later is plan]
