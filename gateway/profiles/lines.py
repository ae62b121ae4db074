"""Formats whose payloads are lists of samples: SenML packs, CSV lines. What a profile says of one sample.

Behind this, such a payload is a list of objects like any other: each path begins with `[]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.profiles.document import Fault
from gateway.profiles.envelopes import FACTS
from gateway.profiles.schema import Samples

if TYPE_CHECKING:
    from gateway.profiles.schema import Document

FORMATS = ("senml", "csv")
TIME = "@time"
"""Where a decoded SenML sample has its time: ns UTC; no name begins so."""
_LIST = "[]"


def with_lines(document: Document, faults: list[Fault]) -> Document:
    """Return a document of such a format with paths as they are in what is decoded."""
    if document.samples:
        what = f"«{document.format}» payloads are samples: each has its own time"
        faults.append(Fault(("samples",), what, "leave it out"))
    if document.format == "csv" and document.csv is None:
        faults.append(Fault(("format",), "which columns?", "csv: {columns: [time, level]}"))
    if document.format == "senml" and document.time:
        faults.append(Fault(("time",), "SenML has its own times", "leave it out"))
    changed: dict[str, Any] = {
        "quantities": {
            name: one if one.derived else one.model_copy(update={"path": _inside(one.path or name)})
            for name, one in document.quantities.items()
        },
        "dimensions": {name: _inside(path) for name, path in document.dimensions.items()},
        "samples": _samples(document),
        "time": None,
    }
    return document.model_copy(update=changed)


def _samples(document: Document) -> Samples:
    if document.format == "senml":
        return Samples(list=_LIST, at=_inside(TIME), unit="ns")
    if document.time:
        return Samples(list=_LIST, at=_inside(document.time.path), unit=document.time.unit)
    return Samples.model_construct(list=_LIST, step=0)  # no time: each has the uplink's


def _inside(path: str) -> str:
    if path in FACTS:
        return path
    return f"{_LIST}.{path}"
