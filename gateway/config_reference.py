"""The table of every setting for `docs/configuration.md`, made from the settings themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticUndefined

from gateway.config import Settings
from gateway.config_problems import NESTED, PREFIX, section_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"


def reference() -> str:
    """Return Markdown: a heading and a table for each section of the settings file."""
    parts = ["### Top level", "", *_table(Settings)]
    for name, field in Settings.model_fields.items():
        section = section_of(field.annotation)
        if section is not None:
            parts += [
                "",
                f"### {_heading(name, field)}",
                "",
                str(section.__doc__),
                "",
                *_table(section),
            ]
    return "\n".join(parts)


def with_reference(page: str) -> str:
    """Return the page with the table between its two marks renewed. Raises ValueError without them."""
    before, rest = page.split(BEGIN, maxsplit=1)
    _, after = rest.split(END, maxsplit=1)
    return f"{before}{BEGIN}\n\n{reference()}\n\n{END}{after}"


def settings_names() -> Iterator[str]:
    """Yield every setting as it is written with its section: `broker.url`, `state_dir`."""
    for name, field in Settings.model_fields.items():
        section = section_of(field.annotation)
        if section is None:
            yield name
        else:
            yield from (f"{name}.{inner}" for inner in section.model_fields)


def _heading(name: str, field: FieldInfo) -> str:
    if "tuple" in str(field.annotation):
        return f"`[[{name}]]`"
    return f"`[{name}.NAME]`" if "dict" in str(field.annotation) else f"`[{name}]`"


def _table(model: type[BaseModel]) -> Iterator[str]:
    yield "| setting | default | what it does |"
    yield "|---|---|---|"
    for name, field in model.model_fields.items():
        if section_of(field.annotation) is None:
            yield f"| `{name}` | {_default(field)} | {_what(field)} |"


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if value is PydanticUndefined:
        return "must be given" if field.default_factory is None else "none"
    if value is None or value == "":
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _what(field: FieldInfo) -> str:
    """Return the description, and the values that there are where they are a list."""
    choices = [repr(value) for value in getattr(field.annotation, "__args__", ()) if isinstance(value, str)]
    listed = f"{'One of ' if choices else ''}{', '.join(choices)}".replace("'", "`")
    text = " ".join(part for part in (field.description or "", f"{listed}." if listed else "") if part)
    return text.replace("|", "\\|")


def environment_name(setting: str) -> str:
    """Return the variable that sets a setting: `broker.url` → `ECLUSE_BROKER__URL`."""
    return PREFIX + setting.upper().replace(".", NESTED)
