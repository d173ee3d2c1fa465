"""The server's settings: each declared once, with its flag, variable, default and help.

Precedence: flag, then `TIERWISE_*` variable, then configuration file, then default. Read by the
`serve` command alone; everything else is handed values.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import configargparse

DEFAULT_CATALOG = "default"
"""Name of a catalog that is given without one."""

NO_LEDGER = "none"
"""What names no database."""

NO_TRACING = "none"
"""What makes no spans."""

_NAMED_CATALOG = re.compile(r"([a-z][a-z0-9-]{0,63})=(.+)")
_HOST_AND_PORT = re.compile(
    r".+:(?:[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
)
_LEDGER = re.compile(r"sqlite:///.+|postgresql(?:\+psycopg)?://.+")
MAX_SECONDS = 86_400
"""Most seconds that any setting takes: a day."""
MAX_COUNT = 10_000_000
"""Most things that any setting counts."""


def default_cache_dir() -> str:
    """Returns the folder for built encoders and cached vectors."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return os.environ.get("TIERWISE_CACHE_DIR") or str(Path(base) / "tierwise")


def default_ledger() -> str:
    """Returns the URL of the ledger that is kept where the operator names none."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return f"sqlite:///{Path(base) / 'tierwise' / 'ledger.sqlite3'}"


def encoder_dir(cache_dir: str) -> Path:
    """Returns where `tierwise encoder build` puts the default encoder."""
    return Path(cache_dir) / "encoder"


def _word(text: str) -> str:
    """Returns a word as it was written: YAML turns a bare `on` or `off` into true or false."""
    return {"True": "on", "False": "off"}.get(text, text)


def _setting(default: Any, text: str, *, least: float | None = None, **options: Any) -> Any:  # noqa: ANN401 - a dataclass field is what its default is
    metadata = {"help": text, "least": least, **options}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything an operator can set, with the values in force."""

    listen: str = _setting(
        "127.0.0.1:50051", "Address to serve gRPC on. Port 0 takes a free one and prints it."
    )
    catalog: tuple[str, ...] = _setting(
        ("utterances",),
        "Folder of a catalog, or NAME=FOLDER; repeat it to serve several. The first one is the"
        " default. A folder without a name is called `default`.",
        metavar="[NAME=]FOLDER",
        action="append",
    )
    candidate: tuple[str, ...] = _setting(
        (),
        "Folder of files that are tried beside a catalog, as [NAME=]FOLDER; repeat it for several"
        " catalogs. Every request is decided by both, the second time after its answer. The folder"
        " may come and go.",
        metavar="[NAME=]FOLDER",
        action="append",
    )
    canary_share: float = _setting(
        0.0,
        "Share of the callers that candidates decide for, from 0 to 1, by a hash of the affinity"
        " key, else the caller, else the prompt. 0 only compares.",
        least=0,
        most=1,
    )
    cache_dir: str = _setting(
        "", "Folder for the built encoder and cached vectors; by default in the user's cache."
    )
    encoder: str = _setting(
        "", "Folder of the built encoder; by default `encoder` in the cache folder.", metavar="DIR"
    )
    encoder_threads: int = _setting(
        0,
        "Encoding lanes, each of one thread. 0 means one for each core. More than cores only adds"
        " waiting.",
        least=0,
    )
    queue_limit: int = _setting(
        512,
        "Prompts that may wait for a lane before calls are refused with RESOURCE_EXHAUSTED. About"
        " what the lanes encode within the callers' deadline.",
        least=1,
    )
    vector_cache: int = _setting(
        8192,
        "Vectors of recent prompts to keep in memory, of about 1.7 KB each. 0 keeps none.",
        least=0,
    )
    ledger: str = _setting(
        "",
        "Database of decisions and outcomes: `sqlite:///FILE`, `postgresql://HOST/DATABASE`, or"
        " `none`; by default a SQLite file in the user's state folder. A password belongs into"
        " PGPASSWORD or a password file.",
        metavar="URL",
    )
    ledger_retention_days: int = _setting(
        90, "Days after which decisions and outcomes are deleted. 0 keeps them for ever.", least=0
    )
    keep_prompts: bool = _setting(
        False,
        "Whether the ledger keeps prompts, of callers that allow it: `on` or `off`.",
    )
    metrics_listen: str = _setting(
        "", "Address to serve Prometheus metrics on over HTTP. Empty serves none."
    )
    tracing: str = _setting(
        "none",
        "Where OpenTelemetry spans go: `none`, or `otlp` to a collector over HTTP, as the variables"
        " OTEL_EXPORTER_OTLP_ENDPOINT and the like say. Needs the extra `otel`.",
        choices=("none", "otlp"),
    )
    reload_interval_s: float = _setting(
        30.0,
        "Seconds between looks at the catalog files, beside those that edits cause.",
        least=0.1,
    )
    self_test_bar: float = _setting(
        0.0,
        "Least share of a catalog's cases that it has to decide as they say, at the start and after"
        " an edit. Below it health says NOT_SERVING, or the revision before stays in service. 0"
        " tests nothing.",
        least=0,
        most=1,
    )
    grace_s: float = _setting(
        10.0, "Seconds that calls in flight get to finish after SIGTERM.", least=0
    )
    drain_delay_s: float = _setting(
        0.0,
        "Seconds between saying NOT_SERVING and taking no more calls, for load balancers that learn"
        " of it late. Counts before `--grace-s`.",
        least=0,
    )
    max_connections: int = _setting(
        2000, "Connections at a time; beyond, new ones are closed at once.", least=1
    )
    max_connection_age_s: int = _setting(
        600,
        "Seconds after which a connection is asked to close, so that new replicas get calls.",
        least=1,
    )
    reflection: bool = _setting(
        True, "Whether clients may ask the server for its contract: `on` or `off`."
    )
    admin: str = _setting(
        "auto",
        "Whether `ReloadCatalog` is served. `auto` serves it where only this machine can call, or"
        " where tokens are asked for, of which one with the scope `admin` is needed.",
        choices=("auto", "on", "off"),
        type=_word,
    )
    tokens: str = _setting(
        "",
        "File of the bearer tokens that callers need; `tierwise token` writes its entries. Edits"
        " count within a second. Empty asks for none.",
        metavar="FILE",
    )
    tls_certificate: str = _setting(
        "",
        "Certificate chain of the server, in PEM. Certificates that are renewed in place are taken"
        " over without a restart. Empty serves without TLS.",
        metavar="FILE",
    )
    tls_key: str = _setting("", "Private key of the certificate, in PEM.", metavar="FILE")
    tls_client_ca: str = _setting(
        "",
        "Authorities, in PEM, one of which must have signed the certificate of a client. Empty asks"
        " clients for none.",
        metavar="FILE",
    )
    log_level: str = _setting(
        "info", "Least level to log.", choices=("debug", "info", "warning", "error")
    )
    log_format: str = _setting(
        "json", "One JSON object a line, or text for people.", choices=("json", "text")
    )
    log_requests: str = _setting(
        "failures", "Which calls to log a line for.", choices=("all", "failures", "none")
    )

    @property
    def encoder_path(self) -> Path:
        """Folder of the built encoder."""
        return Path(self.encoder) if self.encoder else encoder_dir(self.cache_path)

    @property
    def cache_path(self) -> str:
        """Folder for the built encoder and cached vectors."""
        return self.cache_dir or default_cache_dir()

    @property
    def ledger_url(self) -> str:
        """URL of the ledger's database. Empty means that none is kept."""
        return "" if self.ledger == NO_LEDGER else self.ledger or default_ledger()

    @property
    def serves_admin(self) -> bool:
        """Whether methods that change what is served are there."""
        if self.admin == "auto":
            return bool(self.tokens) or is_local(self.listen)
        return self.admin == "on"

    @property
    def lane_count(self) -> int:
        """Encoding lanes in force."""
        return self.encoder_threads or os.cpu_count() or 1

    @property
    def catalogs(self) -> Mapping[str, Path]:
        """Folders by name, the default catalog first."""
        return _folders("--catalog", self.catalog)

    @property
    def candidates(self) -> Mapping[str, Path]:
        """Folders of candidates by the name of the catalog that each is for."""
        return _folders("--candidate", self.candidate)


def _folders(flag: str, entries: Sequence[str]) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    for entry in entries:
        named = _NAMED_CATALOG.fullmatch(entry)
        name, folder = named.groups() if named else (DEFAULT_CATALOG, entry)
        if name in folders:
            raise SettingsError(f"{flag}: two catalogs are called {name!r}")
        folders[name] = Path(folder)
    return folders


def is_local(address: str) -> bool:
    """Returns whether only this machine can reach an address."""
    if address.startswith("unix"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class SettingsError(Exception):
    """Settings that contradict each other."""


def environment_variable(name: str) -> str:
    """Returns the variable that sets a field."""
    return f"TIERWISE_{name.upper()}"


def settings_parser(prog: str, description: str) -> configargparse.ArgumentParser:
    """Returns a parser that knows every setting as a flag, variable and key of a file."""
    parser = configargparse.ArgumentParser(
        prog=prog,
        description=description,
        config_file_parser_class=configargparse.YAMLConfigFileParser,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        is_config_file=True,
        env_var="TIERWISE_CONFIG",
        metavar="FILE",
        help="YAML file with settings by the names of the flags.",
    )
    for field in dataclasses.fields(Settings):
        _add_flag(parser, field)
    return parser


def _add_flag(parser: configargparse.ArgumentParser, field: dataclasses.Field[Any]) -> None:
    limits = {"help", "least", "most"}
    options = {key: value for key, value in field.metadata.items() if key not in limits}
    if isinstance(field.default, bool):
        options |= {"type": _switch, "metavar": "on|off"}
    elif isinstance(field.default, int | float):
        most = MAX_SECONDS if field.name.endswith("_s") else MAX_COUNT
        most = field.metadata.get("most", most)
        options["type"] = _number(type(field.default), field.metadata["least"], most)
    text = field.metadata["help"]
    parser.add_argument(
        f"--{field.name.replace('_', '-')}",
        env_var=environment_variable(field.name),
        default=None,
        help=f"{text} Default: {shown_default(field)}." if shown_default(field) else text,
        **options,
    )


def shown_default(field: dataclasses.Field[Any]) -> str:
    """Returns a field's default as an operator would write it."""
    match field.default:
        case bool():
            return "on" if field.default else "off"
        case tuple():
            return ", ".join(field.default)
        case _:
            return str(field.default)


def _switch(text: str) -> bool:
    # A configuration file in YAML turns a bare `on` into true before this sees it.
    value = {"on": True, "true": True, "off": False, "false": False}.get(text.lower())
    if value is None:
        raise configargparse.ArgumentTypeError(f"must be on or off, not {text}")
    return value


def _number(kind: type, least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value: float = kind(text)
        if not least <= value <= most:
            raise configargparse.ArgumentTypeError(
                f"must be from {least:g} to {most:,}, not {text}"
            )
        return value

    parse.__name__ = "number"
    return parse


def read_settings(parser: configargparse.ArgumentParser, argv: Sequence[str]) -> Settings:
    """Reads flags, variables and file; exits with one line when they make no sense."""
    values = vars(parser.parse_args(argv))
    given = {
        field.name: values[field.name]
        for field in dataclasses.fields(Settings)
        if values[field.name] is not None
    }
    for name in ("catalog", "candidate"):
        if name in given:
            given[name] = tuple(given[name])
    settings = Settings(**given)
    try:
        _check(settings)
    except SettingsError as error:
        parser.error(str(error))
    return settings


def _check(settings: Settings) -> None:
    """Refuses what only shows when values are read."""
    if not settings.catalogs:
        raise SettingsError("--catalog: give at least one folder")
    for name in settings.candidates.keys() - settings.catalogs.keys():
        raise SettingsError(f"--candidate: no catalog is called {name!r}")
    if settings.canary_share and not settings.candidates:
        raise SettingsError("--canary-share: needs --candidate")
    if settings.ledger_url and not _LEDGER.fullmatch(settings.ledger_url):
        # Without the value, which may hold a password.
        raise SettingsError("--ledger: takes sqlite:///FILE, postgresql://HOST/DATABASE or none")
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise SettingsError("--tls-certificate and --tls-key: give both or neither")
    if settings.tls_client_ca and not settings.tls_certificate:
        raise SettingsError("--tls-client-ca: needs --tls-certificate and --tls-key")
    for flag, address in (
        ("--listen", settings.listen),
        ("--metrics-listen", settings.metrics_listen),
    ):
        if address and not address.startswith("unix:") and not _HOST_AND_PORT.fullmatch(address):
            raise SettingsError(f"{flag}: {address!r} is no HOST:PORT with a port up to 65535")


def environment_settings() -> Settings:
    """Returns what the environment says, for commands that take none of these flags."""
    return read_settings(settings_parser("tierwise", "Settings from the environment."), [])
