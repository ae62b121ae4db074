"""Which profile and device a topic belongs to: one dict look-up an uplink, resolved once a topic.

Each topic gets a code; what is known of it stands in columns by code. The codes live until the rules
change or the memory of topics is full: nothing outside one call may keep them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from gateway.decode.formats.codec import NOWHERE
from gateway.decode.growing import GrowingColumn
from gateway.decode.heard import Heard
from gateway.decode.profile_decoder import ProfileDecoder, TableKey, table_key
from gateway.decode.topics import Template, compile_template
from gateway.kernel import compiled
from gateway.model import ERASED_TOPIC, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping, Sequence

    from gateway.model import Device, Int32, SeriesTable
    from gateway.ports import Codecs
    from gateway.profiles.plan import ProfilePlan

__all__ = ["Refusal", "Routes", "TableKey", "table_key"]

MAX_TOPICS = 1_000_000
"""Topics remembered, some 300 bytes each; then all are forgotten and resolved anew."""
MAX_REFUSED = 100_000
"""Topics remembered that are refused, some 450 bytes each; then those are forgotten, and no others."""
MAX_TOPIC = 1_024
"""Bytes of a topic worth remembering: templates have at most 500 characters."""
MAX_NAME = 64
"""Characters of the site and the identifier of a device that the registry does not know."""

_LOOKUP: Final = compiled("lookup")
_SHOWN = 80
ERASED = -4
"""In place of a decoder: the uplink was erased from the journal."""
_TOO_LONG = 0
"""The code of every topic beyond MAX_TOPIC: they are refused without being remembered."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why uplinks of a topic are refused whole."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class _Candidate:
    profile: str
    site: str
    device: str
    template: Template


class Routes:
    """Profiles, devices and limits in force, as decoding needs them.

    `tables` maps `table_key(plan, group)` to the group's series, `texts` holds the texts of text
    quantities: both are the caller's, grow here, and outlive `update`. At most `max_series` series a
    table are given codes, and `max_unknown` devices that are not in the registry are accepted, where
    `accept_unknown`; `unknown` names those accepted before, and must be kept by the checkpoint for a
    replay to accept the same ones.
    """

    def __init__(
        self,
        plans: Mapping[str, ProfilePlan],
        devices: Mapping[tuple[str, str], Device],
        *,
        accept_unknown: bool,
        max_unknown: int,
        max_series: int,
        tables: MutableMapping[TableKey, SeriesTable],
        texts: SeriesTable,
        unknown: Iterable[tuple[str, str]] = (),
        max_topics: int = MAX_TOPICS,
        max_refused: int = MAX_REFUSED,
        codecs: Codecs = NOWHERE,
    ) -> None:
        self.tables = tables
        self._codecs = codecs
        self.texts = texts
        self.unknown: dict[tuple[str, str], None] = dict.fromkeys(unknown)
        self.decoders: list[ProfileDecoder] = []
        self._max_topics = max_topics
        self._max_refused = max_refused
        self._free: list[int] = []
        self._codes: dict[bytes, int] = {}
        self.devices: list[tuple[str, str]] = []
        """The (site, device) of each code; ("", "") where none was found."""
        self.refusals: dict[int, Refusal] = {}
        """The codes of topics that are refused."""
        self._profiles: dict[int, str] = {}
        self._decoder_of = GrowingColumn(-1, np.int32)
        self._heard = Heard()
        self._known = GrowingColumn(0, np.bool_)
        self.update(
            plans,
            devices,
            accept_unknown=accept_unknown,
            max_unknown=max_unknown,
            max_series=max_series,
        )

    def update(
        self,
        plans: Mapping[str, ProfilePlan],
        devices: Mapping[tuple[str, str], Device],
        *,
        accept_unknown: bool,
        max_unknown: int,
        max_series: int,
    ) -> None:
        """Put other rules in force. Decoders of plans that are the same objects are kept; tables are.

        Raises ConfigurationError, without any change, where a plan cannot be compiled.
        """
        old = {id(decoder.plan): decoder for decoder in self.decoders}
        decoders = [
            old.get(id(plan))
            or ProfileDecoder(
                plan, tables=self.tables, texts=self.texts, max_series=max_series, codecs=self._codecs
            )
            for plan in plans.values()
        ]
        self.decoders = decoders
        self._number = {decoder.plan.name: number for number, decoder in enumerate(decoders)}
        self._templates = [
            (compile_template(text), decoder.plan.name)
            for decoder in decoders
            for text in decoder.plan.topics
        ]
        # The most specific first: at the first level that differs, a text before a name.
        self._templates.sort(key=lambda entry: entry[0].wild)
        self._registry = devices
        # A million devices are gone through only where some topic does not say the site.
        whole = all("{site}" in text for decoder in decoders for text in decoder.plan.topics)
        self._sites = {} if whole else _sites(devices)
        self._accept_unknown = accept_unknown
        self._max_unknown = max_unknown
        self._max_series = max_series
        for key in [key for key in self.unknown if key in devices]:
            del self.unknown[key]
        self._forget()

    def codes(self, topics: list[bytes]) -> Int32:
        """Return the code of each topic, int32[n], resolving those not seen before."""
        known = self._known_codes(topics)
        if known is not None:
            return known
        self._learn(topics)
        get = self._codes.get
        return np.array([get(topic, _TOO_LONG) for topic in topics], dtype=np.int32)

    def _known_codes(self, topics: list[bytes]) -> Int32 | None:
        """Return the codes of topics that were all seen before; None where one was not."""
        if _LOOKUP is not None:
            found = np.empty(len(topics), dtype=np.int32)
            return found if _LOOKUP.find(self._codes, topics, found) else None
        try:
            return np.fromiter(map(self._codes.__getitem__, topics), dtype=np.int32, count=len(topics))
        except KeyError:
            return None

    def decoder_of(self, codes: Int32) -> Int32:
        """Return for each code the place of its decoder in `decoders`, int32[n].

        -1 where its topic is refused, `ERASED` where its uplink was erased.
        """
        return self._decoder_of.take(codes)

    def whose(self, topic: bytes) -> tuple[str, str, str]:
        """Return the site, the device and the profile that uplinks of a topic belong to, "" where none is.

        One topic at a time, without an array: a flood of what is refused asks for each.
        """
        code = self._codes.get(topic)
        if code is None:
            self._learn([topic])
            code = self._codes.get(topic, _TOO_LONG)
        return *self.devices[code], self._profiles.get(code, "")

    def unknown_first(self, codes: Int32) -> list[int]:
        """Return the first place in `codes` of each device that is not in the registry."""
        places = np.flatnonzero(~self._known.take(codes))
        _, first = np.unique(codes[places], return_index=True)
        return sorted(places[first].tolist())

    def note_heard(self, codes: Int32) -> None:
        """Note the routes of uplinks that gave readings."""
        self._heard.note(codes, len(self.devices))

    def take_heard(self) -> list[tuple[str, str]]:
        """Return the (site, device) that gave readings since the last call, each once."""
        return self._heard.take(self.devices)

    def _forget(self) -> None:
        self._heard.keep(self.devices)
        self._codes.clear()
        self._free.clear()
        self.devices.clear()
        self.refusals.clear()
        self._profiles.clear()
        self._decoder_of.clear()
        self._known.clear()
        for decoder in self.decoders:
            decoder.forget(max_series=self._max_series)
        self._refuse(self._new(), Reason.UNKNOWN_TOPIC, f"the topic is longer than {MAX_TOPIC} bytes")

    def _learn(self, topics: Sequence[bytes]) -> None:
        new = [topic for topic in dict.fromkeys(topics) if topic not in self._codes]
        if len(self._codes) + len(new) > self._max_topics:
            self._forget()
            new = list(dict.fromkeys(topics))
        elif len(self.refusals) + len(new) > self._max_refused:
            self._forget_refused()
            new = [topic for topic in dict.fromkeys(topics) if topic not in self._codes]
        for topic in new:
            if len(topic) <= MAX_TOPIC:
                self._codes[topic] = code = self._new()
                self._resolve(code, topic)

    def _forget_refused(self) -> None:
        """Forget the topics that are refused, and give their codes again: a flood of invented ones."""
        refused = self.refusals
        self._codes = {topic: code for topic, code in self._codes.items() if code not in refused}
        self._free += [code for code in refused if code != _TOO_LONG]
        self.refusals = {_TOO_LONG: refused[_TOO_LONG]}

    def _new(self) -> int:
        if self._free:
            code = self._free.pop()
            self.devices[code] = ("", "")
            return code
        self.devices.append(("", ""))
        return len(self.devices) - 1

    def _refuse(self, code: int, reason: Reason, detail: str, *, known: bool = True) -> None:
        self.refusals[code] = Refusal(reason, detail)
        self._decoder_of.set(code, -1)
        self._known.set(code, known)

    def _resolve(self, code: int, topic: bytes) -> None:
        if topic == ERASED_TOPIC:
            self._decoder_of.set(code, ERASED)
            self._known.set(code, value=True)
            return
        try:
            text = topic.decode()
        except UnicodeDecodeError as error:
            self._refuse(code, Reason.NOT_UTF8, f"byte {error.start} of the topic is not UTF-8")
            return
        candidates = self._candidates(text)
        if not candidates:
            self._refuse(code, Reason.UNKNOWN_TOPIC, f"{text[:_SHOWN]} matches no profile")
            return
        registered = next((c for c in candidates if (c.site, c.device) in self._registry), None)
        if registered:
            self._settle_registered(
                code, text, candidates, self._registry[registered.site, registered.device]
            )
        else:
            self._settle_unknown(code, text, candidates)

    def _candidates(self, topic: str) -> list[_Candidate]:
        """Return every profile whose template fits, the most specific first."""
        candidates = []
        for template, profile in self._templates:
            found = template.match(topic)
            if found:
                site, device = found
                candidates.append(_Candidate(profile, site or self._sites.get(device, ""), device, template))
        return candidates

    def _settle_registered(self, code: int, topic: str, candidates: list[_Candidate], device: Device) -> None:
        """The registry decides between profiles that share a topic; none other than its own will do."""
        self.devices[code] = (device.site, device.id)
        fits = any(
            c.profile == device.profile and (c.site, c.device) == self.devices[code] for c in candidates
        )
        if not fits:
            detail = (
                f"{topic[:_SHOWN]} is a topic of {candidates[0].profile}; "
                f"device {device.id} at {device.site} has profile {device.profile}"
            )
            self._refuse(code, Reason.WRONG_PROFILE, detail)
            return
        self._admit(code, device.profile, device)

    def _settle_unknown(self, code: int, topic: str, candidates: list[_Candidate]) -> None:
        first = candidates[0]
        key = (first.site, first.device)
        self.devices[code] = key
        equals = {c.profile for c in candidates if c.template.wild == first.template.wild}
        refusal = None
        if len(equals) > 1:
            names = ", ".join(sorted(equals))
            what = f"{topic[:_SHOWN]} is a topic of {names}: only the registry can tell which"
            refusal = Refusal(Reason.NO_PROFILE, what)
        elif key not in self.unknown:
            refusal = self._stranger(key)
        if refusal:
            self._refuse(code, refusal.reason, refusal.detail, known=False)
            return
        self.unknown[key] = None
        self._admit(code, first.profile, None)

    def _stranger(self, key: tuple[str, str]) -> Refusal | None:
        """Say why a device that the registry does not know is refused; None where it is accepted."""
        site, device = key
        what = f"device {device[:_SHOWN]} at {site[:_SHOWN] or 'no site'} is not in the registry"
        if not self._accept_unknown:
            return Refusal(Reason.UNKNOWN_DEVICE, what)
        if max(map(len, key)) > MAX_NAME or not all(map(str.isprintable, key)):
            return Refusal(Reason.UNKNOWN_DEVICE, f"{what}, and its name is too long or not printable")
        if len(self.unknown) >= self._max_unknown:
            return Refusal(
                Reason.UNKNOWN_DEVICE, f"{what}, and {self._max_unknown} such devices are accepted already"
            )
        return None

    def _admit(self, code: int, profile: str, device: Device | None) -> None:
        self._profiles[code] = profile
        number = self._number[profile]
        self._decoder_of.set(code, number)
        self._known.set(code, device is not None)
        self.decoders[number].admit(code, self.devices[code], device)


def _sites(devices: Mapping[tuple[str, str], Device]) -> dict[str, str]:
    """Return the site of each identifier that stands at one site alone: for topics without {site}."""
    sites: dict[str, str] = {}
    twice: set[str] = set()
    for site, device in devices:
        if device in sites:
            twice.add(device)
        sites[device] = site
    return {device: site for device, site in sites.items() if device not in twice}
