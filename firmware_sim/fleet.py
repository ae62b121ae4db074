"""Which devices the city has, where they stand, and devices.csv: what a technician would have noted."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_sim.model import Spec
from firmware_sim.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np

SITE = "lyon"
SHARES = {"waste": 0.5, "traffic": 0.2, "water": 0.3}
PREFIX = {"waste": "bin-{:05d}", "traffic": "tc-{:04d}", "water": "wm-{:05d}"}
PROFILE = {"waste": "bin-level", "traffic": "traffic-counter", "water": "water-meter"}

DISTRICTS = {
    "Presqu'île": (45.7600, 4.8350),
    "Croix-Rousse": (45.7790, 4.8280),
    "Part-Dieu": (45.7605, 4.8590),
    "Guillotière": (45.7530, 4.8440),
    "Confluence": (45.7400, 4.8160),
    "Vieux-Lyon": (45.7625, 4.8270),
    "Vaise": (45.7770, 4.8050),
    "Monplaisir": (45.7450, 4.8710),
    "Gerland": (45.7270, 4.8310),
}
"""Districts of the simulated city and their middles (latitude, longitude)."""
HALF_SIDE_DEGREES = 0.007
STREETS = (
    "rue des Tanneurs",
    "quai des Platanes",
    "cours Lumière",
    "rue de l'Écluse",
    "place du Marché",
    "avenue des Frères",
    "montée du Gourguillon",
    "boulevard des Canuts",
    "rue Sainte-Claire",
    "impasse du Lavoir",
    "rue de la Soierie",
    "chemin des Vignes",
    "place de l'Horloge",
    "rue du Pont-Neuf",
    "allée des Marronniers",
    "rue Édouard-Petit",
)
COLUMNS = (
    "site",
    "id",
    "profile",
    "valid_from",
    "place.street",
    "place.district",
    "place.latitude",
    "place.longitude",
    "param.empty",
    "param.full",
    "param.max_flow",
)


class FleetError(Exception):
    """devices.csv cannot be written; the sentence says why and what to do."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """How many devices of each family stand at a site."""

    bins: int
    counters: int
    meters: int
    site: str = SITE

    @classmethod
    def of(cls, devices: int, *, site: str = SITE) -> Fleet:
        """Return a fleet of that many devices in the usual proportions: every family, if 3 or more."""
        counters = max(round(devices * SHARES["traffic"]), int(devices > 1))
        meters = max(round(devices * SHARES["water"]), int(devices > 2))
        return cls(max(devices - counters - meters, 0), counters, meters, site)

    def specs(self, seed: int) -> list[Spec]:
        """Return the devices; one with a given number is the same in a fleet of any size."""
        counts = {"waste": self.bins, "traffic": self.counters, "water": self.meters}
        return [
            spec_of(family, index, seed=seed, site=self.site)
            for family, count in counts.items()
            for index in range(1, count + 1)
        ]


def spec_of(family: str, index: int, *, seed: int, site: str = SITE) -> Spec:
    """Return one device: its name, place and parameters."""
    rng = generator(seed, "spec", family, index)
    district = list(DISTRICTS)[int(rng.integers(len(DISTRICTS)))]
    latitude, longitude = DISTRICTS[district]
    return Spec(
        family=family,
        index=index,
        site=site,
        id=PREFIX[family].format(index),
        profile=PROFILE[family],
        street=f"{int(rng.integers(1, 120))} {STREETS[int(rng.integers(len(STREETS)))]}",
        district=district,
        latitude=round(latitude + float(rng.uniform(-1, 1)) * HALF_SIDE_DEGREES, 5),
        longitude=round(longitude + float(rng.uniform(-1, 1)) * HALF_SIDE_DEGREES, 5),
        parameters=_parameters(family, rng),
    )


def _parameters(family: str, rng: np.random.Generator) -> dict[str, float]:
    """Return what the technician noted: every bin's depth, some bins' full mark, large meters' flow."""
    if family == "waste":
        depth = {
            "empty": float(rng.choice([1100, 1250, 1400, 1600, 1900, 2400])) + float(rng.integers(-3, 4)) * 10
        }
        return {**depth, "full": float(rng.choice([250, 350, 400]))} if rng.random() < 0.4 else depth
    if family == "water" and rng.random() < 0.1:
        return {"max_flow": 5.0}
    return {}


def write_devices(path: Path, specs: Sequence[Spec]) -> None:
    """Write devices.csv, whole or not at all.

    Raises:
        FleetError: another text stands there: it may be a person's work.
    """
    text = "".join(_lines(specs))
    if path.exists():
        if path.read_text(encoding="utf-8") == text:
            return
        raise FleetError(f"{path} exists and describes another fleet: name another file, or remove it first.")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".draft")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)  # noqa: PTH105 - the atomic rename, by its own name


def _lines(specs: Sequence[Spec]) -> Iterator[str]:
    yield _line(COLUMNS)
    for spec in specs:
        yield _line(
            [
                spec.site,
                spec.id,
                spec.profile,
                "",
                spec.street,
                spec.district,
                f"{spec.latitude:.5f}",
                f"{spec.longitude:.5f}",
                *(_number(spec.parameters.get(name)) for name in ("empty", "full", "max_flow")),
            ]
        )


def _line(cells: Sequence[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
