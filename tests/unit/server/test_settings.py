"""Settings by flag, variable and file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tierwise_server.settings import (
    Settings,
    environment_variable,
    read_settings,
    settings_parser,
)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in dataclasses.fields(Settings):
        monkeypatch.delenv(environment_variable(field.name), raising=False)


def read(*argv: str) -> Settings:
    return read_settings(settings_parser("tierwise serve", "Serves."), argv)


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Returns the last line of a refusal with exit status 2."""
    with pytest.raises(SystemExit) as ended:
        read(*argv)
    assert ended.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_without_anything_the_defaults_hold() -> None:
    assert read() == Settings()


def test_a_flag_goes_before_a_variable_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("queue-limit: 1\nlisten: file:1\nlog-level: error\n")
    monkeypatch.setenv("TIERWISE_QUEUE_LIMIT", "2")
    monkeypatch.setenv("TIERWISE_LISTEN", "variable:2")
    settings = read("--config", str(file), "--queue-limit", "3")
    assert (settings.queue_limit, settings.listen, settings.log_level) == (3, "variable:2", "error")


def test_the_file_itself_may_be_named_by_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("grace-s: 2.5\n")
    monkeypatch.setenv("TIERWISE_CONFIG", str(file))
    assert read().grace_s == 2.5


OTHER_VALUES: dict[object, str] = {
    bool: "off",
    int: "7",
    float: "7.5",
    str: "none",
    tuple: "somewhere",
    "listen": "127.0.0.1:7",
    "metrics_listen": "127.0.0.1:7",
    "log_level": "error",
    "log_format": "text",
    "self_test_bar": "0.9",
    "canary_share": "0.1",
    "keep_prompts": "on",
    "tracing": "otlp",
    "admin": "off",
}
"""A value that is not the default, by name of the setting or by its type."""

TOGETHER = {
    "canary_share": ("--candidate", "somewhere"),
    "tls_certificate": ("--tls-key", "key.pem"),
    "tls_key": ("--tls-certificate", "chain.pem"),
    "tls_client_ca": ("--tls-certificate", "chain.pem", "--tls-key", "key.pem"),
}
"""What a setting makes no sense without."""


@pytest.mark.parametrize("field", dataclasses.fields(Settings), ids=lambda field: field.name)
def test_every_setting_has_a_flag_a_variable_and_a_key(
    field: dataclasses.Field[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = OTHER_VALUES.get(field.name) or OTHER_VALUES[type(field.default)]
    flag = field.name.replace("_", "-")
    others = TOGETHER.get(field.name, ())
    by_flag = getattr(read(f"--{flag}", given, *others), field.name)
    assert by_flag != field.default
    file = tmp_path / "serve.yaml"
    file.write_text(f"{flag}: {given}\n")
    assert getattr(read("--config", str(file), *others), field.name) == by_flag
    monkeypatch.setenv(environment_variable(field.name), given)
    assert getattr(read(*others), field.name) == by_flag


@pytest.mark.parametrize(
    ("listen", "tokens", "served"),
    [
        ("127.0.0.1:1", "", True),
        ("[::1]:1", "", True),
        ("localhost:1", "", True),
        ("unix:/run/tierwise.sock", "", True),
        ("0.0.0.0:1", "", False),
        ("[::]:1", "", False),
        ("router.example:1", "", False),
        ("0.0.0.0:1", "tokens.yaml", True),
    ],
)
def test_admin_methods_are_served_by_themselves_only_where_that_is_safe(
    listen: str, tokens: str, served: bool
) -> None:
    assert Settings(listen=listen, tokens=tokens).serves_admin is served
    assert Settings(listen=listen, tokens=tokens, admin="on").serves_admin
    assert not Settings(listen=listen, tokens=tokens, admin="off").serves_admin


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        (("--no-such-flag",), "--no-such-flag"),
        (("--listne", "x"), "--listne"),
        (("--listen", "nowhere"), "nowhere"),
        (("--listen", "127.0.0.1:99999"), "99999"),
        (("--metrics-listen", "127.0.0.1:x"), "127.0.0.1:x"),
        (("--queue-limit", "0"), "--queue-limit"),
        (("--queue-limit", "many"), "--queue-limit"),
        (("--encoder-threads", "-1"), "--encoder-threads"),
        (("--vector-cache", "-1"), "--vector-cache"),
        (("--grace-s", "-0.1"), "--grace-s"),
        (("--grace-s", "nan"), "--grace-s"),
        (("--grace-s", "inf"), "--grace-s"),
        (("--reload-interval-s", "0"), "--reload-interval-s"),
        (("--max-connection-age-s", "0"), "--max-connection-age-s"),
        (("--max-connection-age-s", "99999999999"), "--max-connection-age-s"),
        (("--ledger", "mysql://host/name"), "--ledger"),
        (("--ledger", "sqlite://"), "--ledger"),
        (("--ledger-retention-days", "-1"), "--ledger-retention-days"),
        (("--log-level", "loud"), "--log-level"),
        (("--reflection", "maybe"), "--reflection"),
        (("--catalog", "a=x", "--catalog", "a=y"), "a"),
        (("--catalog", "x", "--catalog", "y"), "default"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], part: str
) -> None:
    assert part in refused(capsys, *argv)


def test_an_unknown_key_of_the_file_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("colour: blue\n")
    assert "colour" in refused(capsys, "--config", str(file))


def test_a_file_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "/no/such/file" in refused(capsys, "--config", "/no/such/file")


def test_catalogs_have_names_and_the_first_is_the_default() -> None:
    catalogs = read("--catalog", "b=/x/y", "--catalog", "a=z", "--catalog", "plain").catalogs
    assert list(catalogs.items()) == [
        ("b", Path("/x/y")),
        ("a", Path("z")),
        ("default", Path("plain")),
    ]


def test_a_path_may_hold_an_equals_sign() -> None:
    catalogs = read("--catalog", "/data/day=1", "--catalog", "named=/data/day=2").catalogs
    assert dict(catalogs) == {"default": Path("/data/day=1"), "named": Path("/data/day=2")}
    for path in ("../up=x", "=x", "./a=b"):
        assert dict(read("--catalog", path).catalogs) == {"default": Path(path)}


def test_the_file_may_name_several_catalogs(tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("catalog: [a=x, b=y]\n")
    assert list(read("--config", str(file)).catalogs) == ["a", "b"]
    file.write_text("catalog:\n  - a=x\n")
    assert list(read("--config", str(file)).catalogs) == ["a"]


def test_the_encoder_lies_in_the_cache_unless_it_is_named(tmp_path: Path) -> None:
    assert Settings(cache_dir=str(tmp_path)).encoder_path == tmp_path / "encoder"
    assert Settings(cache_dir=str(tmp_path), encoder="e").encoder_path == Path("e")


def test_lanes_are_as_many_as_asked_for_or_at_least_one() -> None:
    assert Settings(encoder_threads=3).lane_count == 3
    assert Settings().lane_count >= 1


def test_the_help_tells_of_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read("--help")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for field in dataclasses.fields(Settings):
        assert f"--{field.name.replace('_', '-')}" in printed
        assert environment_variable(field.name) in printed


def test_a_ledger_is_kept_in_the_users_state_folder_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert read().ledger_url == "sqlite:////state/tierwise/ledger.sqlite3"
    assert read("--ledger", "none").ledger_url == ""
    named = "postgresql://host/name"
    assert read("--ledger", named).ledger_url == named


def test_a_refused_ledger_is_not_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    assert "hunter2" not in refused(capsys, "--ledger", "mysql://user:hunter2@host/name")
