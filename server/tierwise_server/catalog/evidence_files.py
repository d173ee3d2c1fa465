"""Owns how `evidence/*.jsonl` fits the rest of a catalog: known models and tiers, and sizes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from tierwise_server.catalog.document import FILE_START, Spot
from tierwise_server.catalog.faults import FaultLog, FaultRule, did_you_mean, quoted
from tierwise_server.evidence.rows import EvidenceReading, EvidenceRow, merged, read_rows

EVIDENCE_FOLDER: Final = "evidence/"
"""Folder of the evidence inside the catalog folder."""

MAX_EVIDENCE_BYTES: Final = 64 << 20
"""Largest file of evidence."""

MAX_EVIDENCE_ROWS: Final = 50_000
"""Most rows of a catalog's evidence. Each takes about 3 KB of memory and 7 us to compare with."""

EvidenceReadings = dict[str, tuple[bytes, EvidenceReading]]
"""Hash of the content, and rows, of files by name."""


def read_evidence(
    files: Mapping[str, bytes], log: FaultLog, known: EvidenceReadings
) -> list[EvidenceRow]:
    """Returns the rows of all files, and adds what is wrong with the files.

    Args:
        files: Content by name.
        log: Where faults go.
        known: Readings of an earlier call, which saves parsing those that did not change; brought
            up to date.
    """
    rows: list[EvidenceRow] = []
    for name in known.keys() - files.keys():
        del known[name]
    for name, content in sorted(files.items()):
        digest = hashlib.sha256(content).digest()
        if name not in known or known[name][0] != digest:
            known[name] = digest, read_rows(content, name)
        reading = known[name][1]
        for fault in reading.faults:
            key = f"{quoted(fault.key)}: " if fault.key else ""
            log.in_file(name).add(
                Spot(fault.line, 1), FaultRule.INVALID_EVIDENCE, f"{key}{fault.message}"
            )
        rows += reading.rows
        if len(rows) > MAX_EVIDENCE_ROWS:
            log.in_file(name).add(
                FILE_START,
                FaultRule.TOO_MUCH_EVIDENCE,
                f"The catalog has more than {MAX_EVIDENCE_ROWS} rows of evidence.",
                "Keep the newest.",
            )
            return []
    return rows


def placed_evidence(
    rows: Sequence[EvidenceRow],
    *,
    tiers: Collection[str],
    tier_of_model: Mapping[str, str],
    log: FaultLog,
) -> tuple[EvidenceRow, ...]:
    """Returns one row for each prompt and model, each with the tier that the model is of now.

    An unknown model or tier is one fault, at the first of its rows. A task that the catalog does
    not have is none: tasks come and go, and what was labelled stays true.

    Args:
        rows: As read.
        tiers: Ids of all tiers.
        tier_of_model: Tier of each model; empty where the catalog has no models, so that the tier
            that a row names counts.
        log: Where faults go.
    """
    unknown: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], EvidenceRow] = {}
    placed: list[EvidenceRow] = []
    for row in rows:
        tier = tier_of_model.get(row.model, "") if row.model and tier_of_model else row.tier
        if tier in tiers:
            placed.append(row if tier == row.tier else replace(row, tier=tier))
            continue
        by_model = bool(row.model and (tier_of_model or not row.tier))
        key = ("model", row.model) if by_model else ("tier", row.tier)
        unknown[key] += 1
        first.setdefault(key, row)
    for (what, name), count in unknown.items():
        row = first[what, name]
        rule = FaultRule.UNKNOWN_MODEL if what == "model" else FaultRule.UNKNOWN_TIER
        log.in_file(row.file).add(
            Spot(row.line, 1),
            rule,
            f"There is no {what} {quoted(name)}; rows that name it: {count}.",
            did_you_mean(name, tier_of_model if what == "model" else tiers)
            or f"List it, or take its rows out: `tierwise evidence remove --{what} {name}`.",
        )
    return tuple(merged(placed))
