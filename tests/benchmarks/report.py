"""Measures how long `tierwise report` takes over a large ledger.

Some outcomes of made-up traffic are written as servers write them, with their decisions; the rest
are copies under other ids, spread over thirty days. Each format is asked for in a process of its
own, start of the interpreter included, as a person asks. A run on a busy machine is slower: the
processor time tells by how much.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy
from harness import Bar, BenchmarkError, progress, report, rounded, run_program

from tierwise_server.ledger.money import Tokens
from tierwise_server.ledger.pricing import PriceBook
from tierwise_server.ledger.records import (
    AttemptRecord,
    CatalogModel,
    CatalogRecord,
    DecisionRecord,
    Origin,
    OutcomeRecord,
)
from tierwise_server.ledger.store import LedgerStore
from tierwise_server.planning.prices import PriceBand, ResolvedPrice

LIMIT_S = 5.0
DAY_MS = 86_400_000
DAYS = 30
BATCH = 1_000
SEED_ROWS = 20_000
"""Rows that are written as servers write them; the rest are copies under other ids."""

TIERS = ("budget", "mid", "premium")
MODELS = 3
"""In each tier."""

FORMATS = ("table", "json", "csv", "html")
COMMAND = (
    "import sys; from tierwise_server.commands.report import main; sys.exit(main(sys.argv[1:]))"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--outcomes", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3, help="of each format; the fastest counts")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="tierwise-benchmark-") as folder:
        path = Path(folder) / "ledger.sqlite3"
        fill(path, min(arguments.outcomes, SEED_ROWS))
        multiply(path, arguments.outcomes)
        # Otherwise the first runs wait for the disk, which is still busy with the file.
        os.sync()
        size = path.stat().st_size
        figures = {name: asked(path, name, arguments.runs) for name in FORMATS}
    bars = [
        Bar(name=f"report_{name}_s", value=one["seconds"], limit=LIMIT_S)
        for name, one in figures.items()
    ]
    report(
        bars, {"outcomes": arguments.outcomes, "file_mb": rounded(size / 1e6), "formats": figures}
    )
    return 0


def asked(path: Path, name: str, runs: int) -> dict[str, float]:
    """Returns the least wall and processor time of some runs."""
    command = [sys.executable, "-c", COMMAND, "--ledger", f"sqlite:///{path}", "--format", name]
    walls, processors = [], []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        walls.append(time.perf_counter() - started)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processors.append(
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        )
        if done.returncode != 0:
            raise BenchmarkError(done.stderr)
    progress(f"report: {name} in {min(walls):.2f} s")
    return {
        "seconds": rounded(min(walls)),
        "processor_seconds": rounded(min(processors)),
        "characters": len(done.stdout),
    }


def catalog() -> CatalogRecord:
    """Returns a catalog of three tiers, each ten times dearer than the one before."""
    models = {}
    for rank, tier in enumerate(TIERS):
        for number in range(MODELS):
            unit = 10**rank * (100_000_000 + number)
            band = PriceBand(input=unit, output=4 * unit, cached_input=unit // 10)
            models[f"{tier}-model-{number}"] = CatalogModel(
                provider="openai",
                name=f"{tier}-{number}",
                tier=tier,
                price=ResolvedPrice(bands=(band,), source="models.yaml"),
            )
    return CatalogRecord(
        revision="0123456789abcdef",
        catalog="default",
        encoder_id="encoder",
        scorer_id="scorer",
        tiers=TIERS,
        baseline_model_id=f"premium-model-{MODELS - 1}",
        models=models,
    )


def fill(path: Path, count: int) -> None:
    """Writes decisions and outcomes of made-up traffic."""
    chance = random.Random(1)  # noqa: S311 - repeatable, not secret
    known = catalog()
    prices = PriceBook()
    prices.put_in_service(known)
    midnight = datetime.datetime.combine(
        datetime.datetime.now(datetime.UTC).date(), datetime.time(), datetime.UTC
    )
    first_ms = round(midnight.timestamp() * 1000) - (DAYS - 1) * DAY_MS
    with contextlib.closing(LedgerStore(f"sqlite:///{path}", prices)) as store:
        store.write(catalogs=[known])
        for start in range(0, count, BATCH):
            decided = [
                made_up(chance, first_ms, number)
                for number in range(start, min(start + BATCH, count))
            ]
            store.write(
                decisions=[decision for decision, _ in decided],
                outcomes=[outcome for _, outcome in decided],
            )


def made_up(
    chance: random.Random, first_ms: int, number: int
) -> tuple[DecisionRecord, OutcomeRecord]:
    """Returns a decision of made-up traffic and what became of it."""
    tier = chance.choices(TIERS, (70, 20, 10))[0]
    model = f"{tier}-model-{chance.randrange(MODELS)}"
    decided_ms = first_ms + chance.randrange((DAYS - 1) * DAY_MS)
    decision_id = f"{decided_ms:012x}{number:020x}"
    expected = chance.choice(TIERS) if chance.random() < 0.1 else ""
    common = {
        "decision_id": decision_id,
        "catalog": "default",
        "catalog_revision": "0123456789abcdef",
        "tier": tier,
        "task": f"{tier}-task-{chance.randrange(10)}",
        "kind": chance.choice((2, 4, 4, 4, 7)),
        "model_id": model,
        "baseline_model_id": f"premium-model-{MODELS - 1}",
        "propensity": None,
        "caller": f"application-{chance.randrange(20)}",
        "expected_tier": expected,
        "keep_nothing": False,
    }
    encoding_s = chance.expovariate(500)
    decision = DecisionRecord(
        **common,  # type: ignore[arg-type]
        queue_s=0.0,
        encoding_s=encoding_s,
        scoring_s=0.0001,
        total_s=encoding_s + 0.0003,
        vector_cached=False,
        metadata={"request": f"r-{number}"},
    )
    outcome = OutcomeRecord(
        **common,  # type: ignore[arg-type]
        outcome_id=f"o-{number}",
        origin=Origin.ROUTER,
        decided_ms=decided_ms,
        recorded_ms=decided_ms + 1000,
        attempts=attempts(chance, model),
        quality=round(chance.random(), 2) if chance.random() < 0.05 else None,
    )
    return decision, outcome


def attempts(chance: random.Random, model: str) -> tuple[AttemptRecord, ...]:
    """Returns the calls of an outcome: one in fifty has a second one, on a dearer model."""
    answer = AttemptRecord(
        model_id=model,
        provider_id="openai",
        step_kind=1,
        duration_us=round(chance.lognormvariate(14, 0.6)),
        tokens=Tokens(input=chance.randrange(4000), output=chance.randrange(1000)),
    )
    if chance.random() >= 0.02:
        return (answer,)
    failed = AttemptRecord(model_id=model, step_kind=1, error_class=1, duration_us=200_000)
    dearer = AttemptRecord(
        model_id=f"premium-model-{chance.randrange(MODELS)}",
        step_kind=3,
        duration_us=answer.duration_us,
        tokens=answer.tokens,
    )
    return (failed, dearer)


def multiply(path: Path, count: int) -> None:
    """Copies decisions, outcomes and attempts under other ids until there are so many outcomes."""
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        there = connection.scalar(sqlalchemy.text("SELECT count(*) FROM outcomes"))
        for copy in range(1, -(-count // there)):
            for statement in _copies(connection):
                connection.execute(
                    sqlalchemy.text(statement),
                    {"copy": copy, "there": there, "letter": f"{copy:05x}"},
                )
            progress(f"report: {there * (copy + 1):,} of {count:,} outcomes")
    engine.dispose()


def _copies(connection: sqlalchemy.Connection) -> list[str]:
    # The fifth to last digits of a decision's id are free for the number of the copy.
    decision_id = "substr(decision_id, 1, 12) || :letter || substr(decision_id, 18)"
    changed = {
        "decisions": {"decision_id": decision_id},
        "outcomes": {
            "id": "id + :copy * :there",
            "outcome_id": "outcome_id || '-' || :copy",
            "decision_id": decision_id,
            "latency_us": "latency_us + :copy",
        },
        "attempts": {"outcome_row": "outcome_row + :copy * :there"},
    }
    originals = {
        "decisions": "substr(decision_id, 13, 5) = '00000'",
        "outcomes": "id <= :there",
        "attempts": "outcome_row <= :there",
    }
    statements = []
    for table, changes in changed.items():
        names = [one["name"] for one in sqlalchemy.inspect(connection).get_columns(table)]
        values = ", ".join(changes.get(name, name) for name in names)
        statements.append(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table}"  # noqa: S608 - names of tables and columns
            f" WHERE {originals[table]}"
        )
    return statements


if __name__ == "__main__":
    run_program(main)
