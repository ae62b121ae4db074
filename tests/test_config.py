from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway import config
from gateway.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine that runs the tests."""
    for name in [name for name in os.environ if name.upper().startswith("ECLUSE_")]:
        monkeypatch.delenv(name)


def written(folder: Path, text: str) -> Path:
    file = folder / "ecluse.toml"
    file.write_text(text, encoding="utf-8")
    return file


def problems(path: Path | None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        config.load(path)
    return [str(problem) for problem in caught.value.problems]


def test_the_defaults_are_enough() -> None:
    """A broker on this machine, the embedded store, a page on loopback."""
    settings = config.load(None)
    assert (settings.broker.host, settings.broker.port, settings.broker.tls) == ("127.0.0.1", 1883, False)
    assert [sink.kind for sink in settings.sinks] == ["embedded"]
    assert settings.http.host == "127.0.0.1"
    assert settings.journal.segment == 256_000_000
    assert settings.windows.grace == 10 * 10**9


def test_every_error_at_once(tmp_path: Path) -> None:
    """Each with its key, in one go; what is unknown with the nearest that is known."""
    file = written(
        tmp_path,
        """
        brokr = 1
        [broker]
        keepalive = "3 parsecs"
        usrname = "u"
        [[sinks]]
        name = "Influx 1"
        kind = "influx"
        tokn = "x"
        [sites.lyon]
        zone = "Europe/Lyon"
        [http]
        port = 99999
        """,
    )
    kinds = "'influxdb2', 'influxdb3', 'influxdb1', 'victoriametrics'"
    assert problems(file) == [
        f"{file}: sites.lyon.zone: no IANA time zone is called 'Europe/Lyon'; an example is Europe/Paris",
        f'{file}: broker.keepalive: a duration is a number and ms, s, min, h or d, such as "15min"',
        f"{file}: broker.usrname: there is no such setting (did you mean username?)",
        f"{file}: sinks[0].name: must be small letters, digits, - and _, at most 32, such as influx-1",
        f"{file}: sinks[0].kind: must be {kinds}, 'embedded' or 'mqtt'",
        f"{file}: sinks[0].tokn: there is no such setting (did you mean token?)",
        f"{file}: http.port: must be less than or equal to 65535",
        f"{file}: brokr: there is no such setting (did you mean broker?)",
    ]


def test_a_sink_that_is_wrong_is_not_no_sink(tmp_path: Path) -> None:
    """The list is not called too short because its only element was refused; an empty one is."""
    file = written(tmp_path, '[[sinks]]\nname = "a"\nkind = "influxdb2"\n')
    assert problems(file) == [
        f"{file}: sinks[0]: url: a sink of kind influxdb2 needs one, such as http://127.0.0.1:8086"
    ]
    (empty,) = problems(written(tmp_path, "sinks = []\n"))
    assert "at least 1" in empty


def test_how_a_sink_comes_back(tmp_path: Path) -> None:
    """In order and as fast as it can, unless it is told otherwise; nonsense is refused."""
    sink = '[[sinks]]\nname = "a"\nkind = "embedded"\n'
    given = config.load(written(tmp_path, sink)).sinks[0]
    assert (given.order, given.backlog_after, given.drain_rate) == ("backlog", 60 * 10**9, "off")
    file = written(tmp_path, f'{sink}order = "newest"\ndrain_rate = "fast"\n')
    order, rate = problems(file)
    assert order == f"{file}: sinks[0].order: must be 'backlog' or 'live'"
    assert rate.startswith(f"{file}: sinks[0].drain_rate: a rate is off, or a number")
    (short,) = problems(written(tmp_path, f'{sink}backlog_after = "10ms"\n'))
    assert "backlog_after: at least 1s" in short


def test_two_sinks_of_one_name(tmp_path: Path) -> None:
    """Their metrics could not be told apart."""
    one = '[[sinks]]\nname = "a"\nkind = "embedded"\n'
    assert "two of them have the same name" in problems(written(tmp_path, one + one))[0]


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the file, setting by setting."""
    file = written(tmp_path, '[broker]\nurl = "mqtt://127.0.0.1:1"\nclient_id = "of-the-file"\n')
    monkeypatch.setenv("ECLUSE_BROKER__URL", "mqtt://127.0.0.1:2")
    monkeypatch.setenv("ECLUSE_BROKER__PASSWORD", "of-the-environment")
    broker = config.load(file).broker
    assert (broker.port, broker.client_id) == (2, "of-the-file")
    assert config.secret(broker.password, broker.password_file) == "of-the-environment"


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the file; one that sets nothing is a problem too."""
    monkeypatch.setenv("ECLUSE_BROKER__KEEPALIVE", "often")
    monkeypatch.setenv("ECLUSE_BROKR__URL", "mqtt://127.0.0.1:2")
    first, second = problems(None)
    assert first.startswith("ECLUSE_BROKER__KEEPALIVE: a duration")
    assert second == "ECLUSE_BROKR__URL: there is no such setting (did you mean BROKER?)"


def test_a_list_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a whole, as JSON; anything else is a sentence."""
    monkeypatch.setenv("ECLUSE_SINKS", '[{"name": "a", "kind": "embedded"}]')
    assert config.load(None).sinks[0].name == "a"
    monkeypatch.setenv("ECLUSE_SINKS", "[")
    assert problems(None) == ["ECLUSE_SINKS: is not JSON (a list is given as a whole, as JSON)"]
    monkeypatch.delenv("ECLUSE_SINKS")
    monkeypatch.setenv("ECLUSE_SINKS__0__TOKEN", "x")
    assert "must be a list" in problems(None)[0]


def test_secrets_are_never_printed(tmp_path: Path) -> None:
    """Neither by the settings, nor by an error about the value beside them."""
    file = written(
        tmp_path,
        """
        [broker]
        password = "of-the-broker"
        [[sinks]]
        name = "influx"
        kind = "influxdb2"
        url = "http://127.0.0.1:8086"
        token = "of-the-sink"
        [http]
        token = "of-the-page"
        """,
    )
    settings = config.load(file)
    for text in (repr(settings), str(settings), str(settings.model_dump())):
        assert "of-the-" not in text
    assert settings.sinks[0].token is not None
    assert settings.sinks[0].token.get_secret_value() == "of-the-sink"
    broken = written(tmp_path, '[broker]\npassword = ["of-the-broker"]\nusername = 5\n')
    assert not any("of-the-" in problem for problem in problems(broken))


def test_a_secret_in_a_file(tmp_path: Path) -> None:
    """Without the newline at its end; one that cannot be read is a problem."""
    (tmp_path / "key").write_text("of-the-file\n", encoding="utf-8")
    broker = config.load(written(tmp_path, '[broker]\npassword_file = "key"\n')).broker
    assert config.secret(broker.password, broker.password_file) == "of-the-file"
    with pytest.raises(ConfigurationError, match="cannot read this secret"):
        config.secret(None, tmp_path / "nowhere")
    (tmp_path / "key").write_text(" \n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="this secret is empty"):
        config.secret(None, tmp_path / "key")
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        config.secret(None, tmp_path / "key")
    assert config.secret(None, None) is None


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the command is started from; absolute ones stay."""
    folder = tmp_path / "etc"
    folder.mkdir()
    text = """
    state_dir = "state"
    profiles_dir = "/srv/profiles"
    [broker]
    ca_file = "ca.pem"
    [devices]
    file = "../devices.csv"
    [[sinks]]
    name = "influx"
    kind = "influxdb2"
    url = "http://127.0.0.1:8086"
    token_file = "influx.token"
    """
    file = written(folder, text)
    monkeypatch.chdir("/")
    settings = config.load(file)
    assert settings.state_dir == folder / "state"
    assert settings.profiles_dir == Path("/srv/profiles")
    assert settings.broker.ca_file == folder / "ca.pem"
    assert settings.devices.file == tmp_path / "devices.csv"
    assert settings.sinks[0].token_file == folder / "influx.token"
    monkeypatch.chdir(tmp_path)
    assert config.load(Path("etc/ecluse.toml")).state_dir == folder / "state"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[broker]\nurl = "tcp://127.0.0.1"\n', "must look like mqtt://"),
        ('[broker]\nurl = "mqtt://broker.example"\n', "sends all in clear"),
        ('[broker]\nurl = "mqtts://u:p@broker.example"\n', "no user or password in it"),
        ('[broker]\nurl = "mqtts://b.example"\nkey_file = "k"\n', "come together"),
        ('[http]\nhost = "0.0.0.0"\n', "anyone could read the page"),
        (
            '[[sinks]]\nname = "a"\nkind = "influxdb2"\nurl = "http://db.example"\n',
            "sends the token in clear",
        ),
        ("[journal]\nsegment = 5.5\n", "must be a valid integer"),
        ('[journal]\nsegment = "many"\n', "a size is a number"),
        ("[journal]\nsegment = -1\n", "greater than or equal to 0"),
        ("state_dir = [1]\n", "state_dir"),
        ("not toml", "is not TOML"),
    ],
)
def test_what_is_unsafe_or_nonsense_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    """With a sentence that says what to do."""
    assert sentence in problems(written(tmp_path, text))[0]


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("mqtt://127.0.0.1", "127.0.0.1", 1883, False),
        ("mqtts://broker.example", "broker.example", 8883, True),
        ("mqtts://broker.example:443", "broker.example", 443, True),
        ("mqtt://[::1]:1884", "::1", 1884, False),
        ("mqtt://localhost", "localhost", 1883, False),
    ],
)
def test_the_brokers_address(tmp_path: Path, url: str, host: str, port: int, *, tls: bool) -> None:
    """Host, port, and whether it is encrypted."""
    broker = config.load(written(tmp_path, f'[broker]\nurl = "{url}"\n')).broker
    assert (broker.host, broker.port, broker.tls) == (host, port, tls)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Or is no text."""
    assert "cannot be read" in problems(tmp_path / "nowhere.toml")[0]
    (tmp_path / "ecluse.toml").write_bytes(b"\xff\xfe")
    assert "is not TOML" in problems(tmp_path / "ecluse.toml")[0]


def test_settings_are_frozen() -> None:
    """Nobody changes them on the way."""
    settings = config.load(None)
    with pytest.raises(ValueError, match="frozen"):
        settings.broker.url = "mqtt://elsewhere"  # type: ignore[misc]
