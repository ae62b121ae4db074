"""`devices.csv`: what belongs to each installation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Device
from gateway.profiles.compile import compile_text
from gateway.registry.devices import DevicesFile, parse_devices, read_devices
from gateway.roster import Roster

if TYPE_CHECKING:
    from pathlib import Path

PLANS = {
    "bin": compile_text(
        "profile: bin\nversion: 1\nfamily: waste\ntopics: ['b/{site}/{device}']\n"
        "parameters: {empty: {unit: mm, range: [200, 4500]}, full: {unit: mm, default: 300}}\n"
        "quantities: {a: {path: a}}\n",
        name="bin",
    ),
    "meter": compile_text(
        "profile: meter\nversion: 1\nfamily: water\ntopics: ['m/{device}']\n"
        "parameters: {max_flow: {unit: m3/h, default: 3}}\nquantities: {a: {path: a}}\n",
        name="meter",
    ),
}
HEAD = "site,id,profile,valid_from,place.street,param.empty,param.full\n"
MARCH = 1_772_348_400 * 10**9  # 2026-03-01T08:00:00+01:00 is 07:00:00Z


def parse(text: str) -> DevicesFile:
    """Parse a file's text."""
    return parse_devices(text, PLANS, where="devices.csv")


def problems(text: str) -> list[str]:
    """Return the problems of a text."""
    return [str(problem) for problem in parse(text).problems]


def test_a_device_with_place_and_parameters() -> None:
    """Free columns become texts of the place and parameters since ever."""
    found = parse(HEAD + "lyon,b1,bin,,rue Mercière,1850,\n")
    assert not found.problems
    assert found.devices == {
        ("lyon", "b1"): Device("lyon", "b1", "bin", {"street": "rue Mercière"}, {"empty": ((0, 1850.0),)})
    }


def test_parameters_change_in_time() -> None:
    """In whatever order the rows stand; an empty cell leaves what held before."""
    rows = "lyon,b1,bin,2026-03-01T08:00:00+01:00,quai,2100,\nlyon,b1,bin,,rue,1850,200\n"
    device = parse(HEAD + rows).devices["lyon", "b1"]
    assert device.parameters == {"empty": ((0, 1850.0), (MARCH, 2100.0)), "full": ((0, 200.0),)}
    assert device.place == {"street": "quai"}


def test_a_profile_whose_topics_name_no_site() -> None:
    """The site of its devices is empty."""
    found = parse("site,id,profile\n,m1,meter\n")
    assert not found.problems
    assert found.devices["", "m1"].parameters == {}


def test_a_spreadsheets_file() -> None:
    """A byte order mark aside: semicolons, CRLF, quotes, blank lines and spaces."""
    found = parse(
        'site;id;profile;param.empty;place.street\r\n\r\n lyon ; b1 ;bin; 1850 ;"rue; ""x"""\r\n;;;;\r\n'
    )
    assert not found.problems
    assert found.devices["lyon", "b1"].place == {"street": 'rue; "x"'}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("site,id\nlyon,b1\n", "devices.csv:1:1: the column «profile» is missing"),
        ("", "the column «site» is missing"),
        ("site,id,profile,site\n", "devices.csv:1:4: the column «site» stands twice"),
        (
            "site,id,profile,valid_form\n",
            "1:4: the column «valid_form» is not understood (did you mean «valid_from»?)",
        ),
        ("site,id,profile,place.\n", "1:4: the column «place.» is not understood"),
        (
            "site,id,profile,param.emtpy\n",
            "no profile has a parameter for the column «param.emtpy» (did you mean «empty»?)",
        ),
        (HEAD + "lyon,,bin,,,1850,\n", "devices.csv:2:1: «id» is empty"),
        (HEAD + "lyon,b/1,bin,,,1850,\n", "2:1: «id» must be one level of a topic"),
        (HEAD + "l+n,b1,bin,,,1850,\n", "2:1: «site» must be one level of a topic"),
        (HEAD + ",b1,bin,,,1850,\n", "2:1: «site» is empty, and the topics of «bin» name one"),
        (HEAD + "lyon,b1,,,,1850,\n", "2:3: «profile» is empty"),
        (HEAD + "lyon,b1,bni,,,1850,\n", "2:3: there is no profile «bni» (did you mean «bin»?)"),
        (HEAD + "lyon,b1,bin,soon,,1850,\n", "2:4: valid_from: «soon» is not an instant"),
        (
            HEAD + "lyon,b1,bin,2026-03-01T08:00:00,,1850,\n",
            "2:4: valid_from: «2026-03-01T08:00:00» has no offset",
        ),
        (HEAD + "lyon,b1,bin,,,deep,\n", "2:6: param.empty: «deep» is no number"),
        (HEAD + 'lyon,b1,bin,,,"1,85",\n', "«1,85» is no number (write 1.5, not 1,5)"),
        (HEAD + "lyon,b1,bin,,,nan,\n", "«nan» is no number"),
        (HEAD + "lyon,b1,bin,,,1_850,\n", "«1_850» is no number"),
        (HEAD + "lyon,b1,bin,,,185,\n", "2:6: «empty» = 185 mm lies outside 200 to 4500"),
        (HEAD + "lyon,b1,bin,,,,\n", "2:1: «empty» is missing (fill the column param.empty (mm))"),
        (HEAD + "lyon,b1,bin,,,1850,,,\n", "2:1: has more cells than the header"),
        (HEAD + f"lyon,b1,bin,,{'x' * 501},1850,\n", "place.street is longer than 500"),
        (HEAD + "lyon,b1,bin,,,1850,\nlyon,b1,bin,,,1900,\n", "3:1: lyon/b1 stands on line 2 already"),
        (
            HEAD + "lyon,b1,bin,,,1850,\nlyon,b1,meter,2026-03-01T08:00:00Z,,,\n",
            "3:3: lyon/b1 has the profile «bin» on line 2",
        ),
        (HEAD + 'lyon,b1,bin,,"x,1850,\n', "not CSV"),
    ],
)
def test_what_is_wrong_is_told_with_line_and_column(text: str, says: str) -> None:
    """The column is the number of the cell."""
    assert any(says in problem for problem in problems(text)), problems(text)


def test_a_parameter_of_another_profile() -> None:
    """A cell that means nothing for the device's profile is refused."""
    text = "site,id,profile,param.empty,param.max_flow\nlyon,b1,bin,1850,3\n"
    assert problems(text) == [
        "devices.csv:2:5: profile «bin» has no parameter «max_flow» (there is none of «bin» but empty, full)"
    ]


def test_every_error_is_told_at_once_and_the_good_devices_stay() -> None:
    """One row's faults are not its neighbours'."""
    text = HEAD + "lyon,b1,bin,,,1,\nlyon,b2,bin,,,1850,\nlyon,b3,bin,x,,y,\n"
    found = parse(text)
    assert list(found.devices) == [("lyon", "b2")]
    assert [(problem.line, problem.column) for problem in found.problems] == [(2, 6), (4, 4), (4, 6)]


def test_a_device_of_a_refused_profile_stays_known() -> None:
    """Its uplinks are refused because the profile is, not as a stranger's."""
    found = parse(HEAD + "lyon,b1,gone,,,1850,\n")
    assert found.devices["lyon", "b1"].parameters == {"empty": ((0, 1850.0),)}
    assert len(found.problems) == 1


def test_one_bad_row_refuses_its_device_as_a_whole() -> None:
    """Half of a device's history would be a wrong one."""
    text = (
        "site,id,profile,valid_from,param.empty\n"
        "lyon,bin-1,bin,,1850\n"
        "lyon,bin-1,bin,2026-03-01,2100\n"
        "lyon,bin-2,bin,,1700\n"
    )
    found = parse_devices(text, PLANS, where="devices.csv")
    assert set(found.devices) == {("lyon", "bin-2")}
    assert [problem.line for problem in found.problems] == [3]


def test_reading_a_file(tmp_path: Path) -> None:
    """A byte order mark is skipped; no file is an empty registry; no text is a problem."""
    path = tmp_path / "devices.csv"
    assert read_devices(path, PLANS) == DevicesFile(Roster(), ())
    path.write_text(HEAD + "lyon,b1,bin,,é,1850,\n", encoding="utf-8-sig")
    assert read_devices(path, PLANS).devices["lyon", "b1"].place == {"street": "é"}
    path.write_bytes(b"site\xff")
    assert "is not UTF-8 (byte 4)" in str(read_devices(path, PLANS).problems[0])
    assert "cannot be read" in str(read_devices(tmp_path, PLANS).problems[0])


@given(st.text(alphabet='site,idprofil;"\n\r0ébn.\0 ', max_size=200))
def test_parsing_never_raises(rest: str) -> None:
    """Whatever the file holds, its problems are values."""
    assert isinstance(parse(rest), DevicesFile)
    assert isinstance(parse(HEAD + rest), DevicesFile)
