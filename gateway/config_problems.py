"""What pydantic says of a settings file, as problems that a person can act on."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, get_args

from pydantic import BaseModel

from gateway.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

PREFIX, NESTED = "ECLUSE_", "__"
"""How a setting is named in the environment: `ECLUSE_BROKER__PASSWORD`."""

Place = tuple[int | str, ...]


def problems(
    error: ValidationError, *, file: str, settings: type[BaseModel], environment: Iterable[str]
) -> list[Problem]:
    """Return every problem, in the order of the settings; `environment` are the variables that are set."""
    given = {name.upper() for name in environment}
    faults = error.errors(include_url=False, include_input=False)
    places = [fault["loc"] for fault in faults]
    return [
        _problem(fault, _where(fault["loc"], file, given), settings)
        for fault in faults
        if not (fault["type"] == "too_short" and _has_inner(fault["loc"], places))
    ]


def unknown_variables(settings: type[BaseModel], environment: Iterable[str]) -> Iterator[Problem]:
    """Yield a problem for each variable such as `ECLUSE_BROKR__URL`, which pydantic would pass over."""
    sections = {name.upper(): name for name in settings.model_fields}
    for name in sorted(environment):
        section, nested, _ = name.upper().removeprefix(PREFIX).partition(NESTED)
        if name.upper().startswith(PREFIX) and nested and section not in sections:
            yield Problem(name, "there is no such setting", _near(section, sections))


def _has_inner(place: Place, places: Sequence[Place]) -> bool:
    """Tell whether an element of a list was refused: the list is too short only for that reason."""
    return any(len(other) > len(place) and other[: len(place)] == place for other in places)


def _where(place: Place, file: str, given: set[str]) -> str:
    """Name the environment's variable where one set this, or a part of it, else the file and the key."""
    for end in range(len(place), 0, -1):
        variable = PREFIX + NESTED.join(str(part).upper() for part in place[:end])
        if variable in given:
            return variable if end == len(place) else f"{variable}: {_key(place[end:])}"
    return f"{file}: {_key(place)}" if place else file


def _key(place: Place) -> str:
    key = ""
    for part in place:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    return key


def _problem(fault: ErrorDetails, where: str, settings: type[BaseModel]) -> Problem:
    place: Place = fault["loc"]
    if fault["type"] == "extra_forbidden":
        return Problem(where, "there is no such setting", _near(str(place[-1]), _beside(place, settings)))
    if fault["type"] == "missing":
        return Problem(where, "is missing")
    what = fault["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if fault["type"] == "tuple_type":
        hint = "in the environment: as a whole, as JSON; a sink's secret stands better in its token_file"
        return Problem(where, "must be a list", hint)
    return Problem(where, what)


def _beside(place: Place, settings: type[BaseModel]) -> list[str]:
    """Return the settings that there are where an unknown one stands."""
    model: type[BaseModel] = settings
    for part in place[:-1]:
        field = model.model_fields.get(str(part))
        if field is not None:  # else a sink's number or a site's name: the model is that of its values
            model = section_of(field.annotation) or model
    return list(model.model_fields)


def section_of(annotation: object) -> type[BaseModel] | None:
    """Return the section that a setting holds: itself, or as the values of a list or a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := section_of(part))), None)


def _near(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
