"""Profiles from files: a bad one is refused with line and reason, the others load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import Problem
from gateway.profiles.codec import MAX_BYTES as CODEC_BYTES
from gateway.profiles.codec import joined, parted
from gateway.profiles.compile import compile_profile
from gateway.profiles.document import MAX_BYTES, Fault, compose
from gateway.profiles.together import check_together

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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
    for file in files:
        plan, faults = _load_file(file)
        problems.extend(faults)
        if plan is not None:
            problems.extend(clashes := _clashes(file, plan, [known for _, known in plans]))
            if not clashes:
                plans.append((file, plan))
    return Loaded(
        plans={plan.name: plan for _, plan in plans},
        problems=tuple(problems),
        files={plan.name: file for file, plan in plans},
    )


def load_text(name: str, text: str) -> tuple[ProfilePlan | None, tuple[Problem, ...]]:
    """Return the plan of a text that a control record carries, or None and its problems."""
    return compile_profile(text, where=name)


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


def _load_file(file: Path) -> tuple[ProfilePlan | None, tuple[Problem, ...]]:
    try:
        if file.stat().st_size > MAX_BYTES:
            return None, (Problem(str(file), f"a profile is at most {MAX_BYTES} bytes long"),)
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        return None, (Problem(str(file), f"cannot be read: {error.strerror}"),)
    except UnicodeDecodeError as error:
        return None, (Problem(str(file), f"is not UTF-8 (byte {error.start})", "save it as UTF-8"),)
    name = _codec_of(text, file)
    if name is None:
        return compile_profile(text, where=str(file))
    script = _script(file.parent / name)
    if isinstance(script, str):
        return compile_profile(joined(text, name, script), where=str(file))
    source = compose(text, str(file))
    return None, (source.problem(Fault(("codec", "file"), *script)),)


def _codec_of(text: str, file: Path) -> str | None:
    """Return the codec's file that a profile names, unless its text stands behind it already."""
    if "codec" not in text or parted(text)[1] is not None:
        return None
    data = compose(text, str(file)).data
    codec = data.get("codec") if isinstance(data, dict) else None
    name = codec.get("file") if isinstance(codec, dict) else None
    return name if isinstance(name, str) else None


def _script(file: Path) -> str | tuple[str, str]:
    """Return a codec's text; or what is wrong with it, and what to do."""
    try:
        if file.stat().st_size > CODEC_BYTES:
            return f"a codec is at most {CODEC_BYTES} bytes long", "is it the right file?"
        return file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        return f"the codec {file} cannot be read: {error.strerror}", "its path begins at the profile's folder"
    except UnicodeDecodeError as error:
        return f"the codec {file} is not UTF-8 (byte {error.start})", "save it as UTF-8"


def _clashes(file: Path, plan: ProfilePlan, known: list[ProfilePlan]) -> list[Problem]:
    found = check_together([*known, plan])
    return [Problem(str(file), what, hint) for later, what, hint in found if later is plan]
