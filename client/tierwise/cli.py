"""The command `tierwise`: finds the subcommand and hands it the rest of the line.

Commands that talk to a router live in `tierwise.commands`; those that need the server package are
found through the entry-point group `tierwise.commands`, so that this package never imports it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from tierwise import __version__, commands
from tierwise.errors import ConfigurationError, RouterError, TierwiseError

Command = Callable[[Sequence[str]], int]

CLIENT_COMMANDS = ("chat", "route", "explain", "reload", "rollout")
"""Modules of the package that is imported above, which itself keeps grpc quiet; each is imported
when it is asked for, since `serve` has no use for them."""

SUMMARIES = {
    "chat": "have a prompt answered by the model that the router chooses",
    "route": "decide which tier should answer a prompt",
    "explain": "decide, and show the evidence and what would flip the decision",
    "reload": "make a server read its catalog files again",
    "rollout": "show which revision each replica serves, until all serve the same",
    "serve": "run the routing service",
    "health": "ask a server for its health, as probes do",
    "check": "report what is wrong with a catalog's files, and what weakens them",
    "bench": "measure models on sample prompts of each task: quality, cost and latency",
    "calibrate": "fit thresholds and confidence to labelled prompts, by an objective",
    "evaluate": "run held-out cases or a labelled file against a catalog",
    "suggest": "propose utterances and tasks from logged prompts, with their measured effect",
    "candidate": "compare a candidate's files with those in service, take or drop them",
    "robustness": "count decisions that flip under changes that mean nothing",
    "evidence": "count, import and export labelled outcomes",
    "verdicts": "write calls into a file for people to judge, and report what they say",
    "report": "show what routing did, cost and saved, from the ledger",
    "encoder": "build the encoder that prompts are embedded with",
    "models": "list a catalog's models with prices and where they come from",
    "token": "make a bearer token and the entry that admits it",
    "init": "write a small catalog to start from",
}
SERVER_COMMANDS = tuple(name for name in SUMMARIES if name not in CLIENT_COMMANDS)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, 1 for a failure, 2 for misuse."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in {"-h", "--help", "help"}:
        print(_help())
        return 0 if words else 2
    if words[0] in {"-V", "--version", "version"}:
        print(f"tierwise {__version__}")
        return 0
    try:
        return _find(words[0])(words[1:])
    except TierwiseError as error:
        _complain(words[0], error)
        return 2 if isinstance(error, ConfigurationError) else 1
    except BrokenPipeError:
        # The reader of the output went away, as `head` does; that is no failure.
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130


def _find(name: str) -> Command:
    if name in CLIENT_COMMANDS:
        return cast("Command", import_module(f"{commands.__name__}.{name}").main)
    for entry in entry_points(group="tierwise.commands", name=name):
        try:
            return cast("Command", entry.load())
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"needs {error.name}, which is not installed: pip install 'tierwise[server]'"
            ) from error
    if name in SERVER_COMMANDS:
        raise ConfigurationError("needs the server: pip install 'tierwise[server]'")
    raise ConfigurationError(
        f"no such command; `tierwise --help` lists them: {', '.join(SUMMARIES)}"
    )


def _complain(name: str, error: TierwiseError) -> None:
    if not isinstance(error, RouterError):
        print(f"tierwise {name}: {error}", file=sys.stderr)
        return
    print(f"tierwise {name}: {error.code.name}: {error}{_advice(error)}", file=sys.stderr)
    for line in error.details:
        if line not in str(error):  # An error of one field is its message already.
            print(f"  {line}", file=sys.stderr)


def _advice(error: RouterError) -> str:
    """Returns what somebody at a terminal can do, where the message speaks to programs."""
    if error.code.name == "UNAVAILABLE" and not error.reason:  # No router has said so itself.
        return " (is `tierwise serve` running there? If it serves TLS, set TIERWISE_SERVER_CA)"
    if error.code.name == "UNAUTHENTICATED":
        return " (commands send the token that TIERWISE_TOKEN holds)"
    return ""


def _help() -> str:
    lines = ["usage: tierwise COMMAND ...", "", "commands:"]
    width = max(map(len, SUMMARIES))
    lines += [f"  {name:<{width}}  {summary}" for name, summary in SUMMARIES.items()]
    return "\n".join([*lines, "", "`tierwise COMMAND --help` shows a command's options."])


if __name__ == "__main__":
    sys.exit(main())
