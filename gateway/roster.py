"""The roster: the devices that are known, a million of them in some 200 bytes each.

A roster is never written to: a change makes another one, which shares with the first all that did not change.
So whoever holds one, in another thread even, sees it as it was, and a change costs what has changed. What
many devices have in common (profile, parameters, place) is one object; an identifier is kept once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from gateway.model import Device

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    Key = tuple[str, str]
    Entry = tuple[str, str, "Details"]
    Part = tuple["Details | None", ...]

PART = 1024
"""Devices a part: what is copied, and saved, where one of them changes."""
_COMMON = 4096
"""Details remembered, so that equal ones that come later are the same object."""


@dataclass(frozen=True, slots=True)
class Details:
    """What is known of a device beside its name; see `model.Device`. Devices share it: never write to it."""

    profile: str
    place: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return it as texts, numbers, lists and mappings."""
        parameters = {name: [list(each) for each in values] for name, values in self.parameters.items()}
        return {"profile": self.profile, "place": dict(self.place), "parameters": parameters}

    @classmethod
    def of_plain(cls, data: Mapping[str, Any]) -> Details:
        """Return what `plain` gave. Raises KeyError, TypeError, ValueError on anything else."""
        return cls(
            profile=str(data["profile"]),
            place=dict(data["place"]),
            parameters={
                str(name): tuple((int(since), float(value)) for since, value in values)
                for name, values in data["parameters"].items()
            },
        )


class Numbers:
    """A number for every device that any roster of one line has had: only ever grows, so all share it."""

    __slots__ = ("by_site", "common", "ids", "sites")

    def __init__(self) -> None:
        self.by_site: dict[str, dict[str, int]] = {}
        self.sites: list[str] = []
        self.ids: list[str] = []
        self.common: dict[tuple[object, ...], Details] = {}

    def of(self, site: str, device: str) -> int:
        """Return a device's number, the next one where it is new."""
        ids = self.by_site.get(site)
        if ids is None:
            ids = self.by_site[site] = {}
        number = ids.setdefault(device, len(self.ids))
        if number == len(self.ids):
            self.ids.append(device)
            self.sites.append(site)
        return number

    def find(self, key: Key) -> int:
        """Return a device's number; -1 where it has none."""
        site, device = key
        ids = self.by_site.get(site)
        return -1 if ids is None else ids.get(device, -1)

    def shared(self, details: Details) -> Details:
        """Return an equal one that others have already, where one is remembered."""
        key = (details.profile, tuple(details.place.items()), tuple(details.parameters.items()))
        if len(self.common) >= _COMMON:
            self.common.clear()
        return self.common.setdefault(key, details)


class Roster(Mapping["Key", Device]):
    """Devices by (site, id). Made by `Roster.of`, or from another one by `changed`."""

    __slots__ = ("_count", "_numbers", "parts")

    def __init__(self, numbers: Numbers | None = None, parts: Sequence[Part] = (), count: int = 0) -> None:
        """Use `of`, `numbered`, `changed` or `restored`."""
        self._numbers = Numbers() if numbers is None else numbers
        self.parts: tuple[Part, ...] = tuple(parts)
        """The details by number, `PART` a part; None where that number's device is not in this roster."""
        self._count = count

    @classmethod
    def of(cls, devices: Iterable[Device]) -> Roster:
        """Return a roster of these; of several with one name the last."""
        return cls().changed(
            (device.site, device.id, Details(device.profile, device.place, device.parameters))
            for device in devices
        )

    @classmethod
    def numbered(cls, numbers: Numbers, details: Sequence[Details | None]) -> Roster:
        """Return a roster of the details of each number."""
        parts = [tuple(details[first : first + PART]) for first in range(0, len(details), PART)]
        return cls(numbers, parts, sum(each is not None for each in details))

    def __getitem__(self, key: Key) -> Device:
        details = self.details(key)
        if details is None:
            raise KeyError(key)
        return Device(key[0], key[1], details.profile, details.place, details.parameters)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and len(key) == 2 and self.details(key) is not None

    def __iter__(self) -> Iterator[Key]:
        return ((site, device) for site, device, _ in self.entries())

    def __len__(self) -> int:
        return self._count

    def details(self, key: Key) -> Details | None:
        """Return what is known of a device; None where it is not in this roster."""
        part, place = divmod(self._numbers.find(key), PART)
        if not 0 <= part < len(self.parts):
            return None
        details = self.parts[part]
        return details[place] if place < len(details) else None

    def entries(self) -> Iterator[Entry]:
        """Yield site, id and details of every device, without making a `Device` of it."""
        sites, ids = self._numbers.sites, self._numbers.ids
        for number, part in enumerate(self.parts):
            own = slice(number * PART, (number + 1) * PART)
            for site, device, details in zip(sites[own], ids[own], part, strict=False):
                if details is not None:
                    yield site, device, details

    def profiles(self) -> Counter[str]:
        """Return how many devices each profile has."""
        return Counter(details.profile for part in self.parts for details in part if details is not None)

    def changed(self, upsert: Iterable[Entry], remove: Iterable[Key] = ()) -> Roster:
        """Return this roster without some devices, then with others in place of those of the same name."""
        numbers = self._numbers
        new = {number: None for number in map(numbers.find, remove) if number >= 0} | {
            numbers.of(site, device): numbers.shared(details) for site, device, details in upsert
        }
        parts, count = list(self.parts), self._count
        touched: dict[int, list[Details | None]] = {}
        for number, details in new.items():
            part, place = divmod(number, PART)
            rows = touched.get(part)
            if rows is None:
                rows = touched[part] = list(parts[part]) if part < len(parts) else []
            rows.extend([None] * (place + 1 - len(rows)))
            count += (details is not None) - (rows[place] is not None)
            rows[place] = details
        parts.extend([()] * (max(touched, default=-1) + 1 - len(parts)))
        for part, rows in touched.items():
            parts[part] = tuple(rows)
        roster = Roster(numbers, parts, count)
        # Numbers of those that are gone are not used again: once they are the most, all are given anew.
        return roster if len(numbers.ids) <= 2 * count + PART else Roster().changed(roster.entries())

    def changes_to(self, wanted: Roster) -> tuple[list[Entry], list[Key]]:
        """Return what `changed` must be given for this roster to become the wanted one."""
        upsert: list[Entry] = []
        same: set[tuple[int, int]] = set()
        found = 0
        for entry in wanted.entries():
            old, new = self.details(entry[:2]), entry[2]
            found += old is not None
            if old is not new and (id(old), id(new)) not in same:
                if old == new:
                    same.add((id(old), id(new)))
                else:
                    upsert.append(entry)
        gone = [] if found == len(self) else [key for key in self if wanted.details(key) is None]
        return upsert, gone

    def saved(self, part: int) -> bytes:
        """Return a part as bytes (JSON): names, and details once for all devices that share them."""
        details = self.parts[part]
        own = slice(part * PART, part * PART + len(details))
        places: dict[int, int] = {}
        codes = [-1 if each is None else places.setdefault(id(each), len(places)) for each in details]
        several = {codes[row]: each for row, each in enumerate(details) if each is not None}
        sites = list(dict.fromkeys(self._numbers.sites[own]))
        known = {site: code for code, site in enumerate(sites)}
        body = {
            "sites": sites,
            "site": [known[site] for site in self._numbers.sites[own]],
            "id": self._numbers.ids[own],
            "details": [each.plain() for each in several.values()],
            "detail": codes,
        }
        return orjson.dumps(body)

    @classmethod
    def restored(cls, bodies: Iterable[bytes]) -> Roster:
        """Return the roster whose parts `saved` gave, in order. Raises ValueError, KeyError on others."""
        numbers, count = Numbers(), 0
        parts: list[Part] = []
        for body in bodies:
            saved = orjson.loads(body)
            sites, details = saved["sites"], [numbers.shared(Details.of_plain(d)) for d in saved["details"]]
            for site, device in zip(saved["site"], saved["id"], strict=True):
                numbers.of(sites[site], device)
            part = tuple(details[code] if code >= 0 else None for code in saved["detail"])
            parts.append(part)
            count += len(part) - part.count(None)
        return cls(numbers, parts, count)


def without(body: bytes, keys: Collection[Key]) -> bytes | None:
    """Return a part as `Roster.saved` gave it, without the names and details of some devices.

    None where it has none of them. The numbers of the others stay.
    """
    saved = orjson.loads(body)
    names = [(saved["sites"][site], device) for site, device in zip(saved["site"], saved["id"], strict=True)]
    gone = [row for row, name in enumerate(names) if name in keys]
    if not gone:
        return None
    for row in gone:
        saved["id"][row] = f"\0erased {row}"  # no topic can have U+0000
        saved["detail"][row] = -1
    nothing = Details("").plain()
    used = set(saved["detail"])
    saved["details"] = [each if code in used else nothing for code, each in enumerate(saved["details"])]
    return orjson.dumps(saved)


def grouped(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Return devices as plain data, those of one site with the same details together."""
    groups: dict[tuple[str, int], tuple[Details, list[str]]] = {}
    for site, device, details in entries:
        groups.setdefault((site, id(details)), (details, []))[1].append(device)
    return [{"site": site, "ids": ids, **details.plain()} for (site, _), (details, ids) in groups.items()]


def ungrouped(groups: Iterable[Mapping[str, Any]]) -> Iterator[Entry]:
    """Yield what `grouped` was given. Raises KeyError, TypeError, ValueError on anything else."""
    for group in groups:
        details, site = Details.of_plain(group), str(group["site"])
        for device in group["ids"]:
            yield site, str(device), details
