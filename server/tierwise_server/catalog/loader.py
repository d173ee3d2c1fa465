"""Owns the way from a catalog folder to a `Catalog`, or to all its faults at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tierwise_server.catalog.background_file import (
    BACKGROUND_FILE,
    BackgroundDraft,
    read_background,
)
from tierwise_server.catalog.calibration import Calibration
from tierwise_server.catalog.calibration_file import CALIBRATION_FILE, read_calibration
from tierwise_server.catalog.case_files import CASE_FOLDER, CaseReading
from tierwise_server.catalog.cases import Case
from tierwise_server.catalog.document import FILE_START, Node, Scalar, read_document
from tierwise_server.catalog.evidence_files import (
    EVIDENCE_FOLDER,
    EvidenceReadings,
    placed_evidence,
    read_evidence,
)
from tierwise_server.catalog.faults import (
    CatalogInvalidError,
    FaultLog,
    FaultRule,
    did_you_mean,
    quoted,
)
from tierwise_server.catalog.files import CatalogFiles, read_catalog_files
from tierwise_server.catalog.ids import Location, ModelId, TaskId, TierId
from tierwise_server.catalog.known import KnownIds
from tierwise_server.catalog.limits_file import LIMITS_FILE, Limits, read_limits
from tierwise_server.catalog.model import BackgroundGroup, Catalog, Task, Tier, Utterance
from tierwise_server.catalog.models_file import (
    MODELS_FILE,
    RegistryDraft,
    check_coverage,
    read_models,
)
from tierwise_server.catalog.paraphrases_file import (
    PARAPHRASES_FILE,
    Paraphrase,
    read_paraphrases,
)
from tierwise_server.catalog.revision import content_revision
from tierwise_server.catalog.rules import RuleBook
from tierwise_server.catalog.rules_file import RULES_FILE, read_rules
from tierwise_server.catalog.settings_file import (
    SETTINGS_FILE,
    CatalogSettings,
    read_settings,
)
from tierwise_server.catalog.tier_files import (
    TIER_FOLDER,
    TaskDraft,
    TierDraft,
    check_tasks,
    check_utterances,
    read_tier,
    tier_file,
)
from tierwise_server.evidence.rows import EvidenceRow

__all__ = ["CatalogFiles", "load_catalog", "parse_catalog", "read_catalog_files"]


def load_catalog(folder: Path) -> Catalog:
    """Returns the catalog of a folder. Blocks on the disk.

    Raises:
        CatalogInvalidError: With every fault.
    """
    return parse_catalog(read_catalog_files(folder))


Documents = dict[str, tuple[bytes, Node]]
"""Content and parsed form of faultless files, by name."""


def parse_catalog(
    files: CatalogFiles,
    known: Documents | None = None,
    known_evidence: EvidenceReadings | None = None,
) -> Catalog:
    """Returns the catalog that the files hold.

    Args:
        files: The files.
        known: Documents of an earlier call, which saves parsing those that did not change; brought
            up to date. None parses all.
        known_evidence: The same for files of evidence.

    Raises:
        CatalogInvalidError: With every fault, those of reading the files included.
    """
    log = FaultLog()
    for fault in files.faults:
        log.add(fault)
    catalog = _Parsing(
        files,
        log,
        {} if known is None else known,
        {} if known_evidence is None else known_evidence,
    ).catalog()
    if catalog is None or log.faults:
        raise CatalogInvalidError(log.faults)
    return catalog


class _Parsing:
    """Reads the files in the order in which they refer to each other.

    A file that can't be read makes the ids in it unknowable, not unknown, so that one mistake is
    reported as one fault.
    """

    def __init__(
        self,
        files: CatalogFiles,
        log: FaultLog,
        known: Documents,
        known_evidence: EvidenceReadings,
    ) -> None:
        self._log = log
        self._unreadable = {fault.file for fault in files.faults}
        evidence = {
            name: content
            for name, content in files.content.items()
            if name.startswith(EVIDENCE_FOLDER)
        }
        self._evidence_rows = read_evidence(evidence, log, known_evidence)
        self._names = sorted(files.content.keys() - evidence.keys())
        self._nodes: dict[str, Node] = {}
        for name in self._names:
            content = files.content[name]
            before, node = known.get(name, (None, None))
            if before != content:
                fault_count = len(log.faults)
                node = read_document(content, log.in_file(name))
                known.pop(name, None)
                if node is not None and len(log.faults) == fault_count:
                    known[name] = content, node
            if node is not None:
                self._nodes[name] = node
        for name in known.keys() - set(self._names):
            del known[name]

    def catalog(self) -> Catalog | None:
        """Returns the catalog, or None when too little of it can be read."""
        settings = self._settings()
        drafts = self._tiers(settings)
        tier_of_task = check_tasks(drafts, _tier_ids(settings), self._log)
        background = self._background()
        utterance_places = check_utterances(_utterances(drafts, background), self._log)
        known = KnownIds(
            tiers=_tier_ids(settings),
            tier_of_task=tier_of_task if self._are_readable(TIER_FOLDER) else None,
            models=None,
        )
        registry = self._models(settings, known)
        known = KnownIds(
            tiers=known.tiers,
            tier_of_task=known.tier_of_task,
            models=registry.lines if registry is not None else self._ids_without_registry(),
        )
        if settings is not None and settings.baseline_model is not None:
            known.check_model(settings.baseline_model, self._log.in_file(SETTINGS_FILE))
        rules = self._rules(known)
        limits = self._limits(known)
        cases = self._cases(known, utterance_places)
        evidence = self._evidence(settings, registry)
        calibration = self._calibration()
        if settings is None or self._log.faults:
            return None
        numbering = _Numbering()
        return _assemble(
            settings,
            numbering.tiers(drafts),
            numbering.background(background),
            registry,
            rules=rules,
            limits=limits,
            held_out=_HeldOut(cases=cases, paraphrases=self._paraphrases()),
            evidence=evidence,
            calibration=calibration,
        )

    def _evidence(
        self, settings: CatalogSettings | None, registry: RegistryDraft | None
    ) -> tuple[EvidenceRow, ...]:
        """Returns the evidence; none while it can't be told which tiers and models there are."""
        is_unclear = registry is None and self._ids_without_registry() is None
        if not self._evidence_rows or settings is None or is_unclear:
            return ()
        models = registry.models if registry else ()
        tier_of_model = {str(model.id): str(model.tier) for model in models}
        # Of a model with a fault of its own, that fault is enough.
        faulty = registry.lines.keys() - tier_of_model.keys() if registry else set()
        return placed_evidence(
            [row for row in self._evidence_rows if row.model not in faulty],
            tiers={tier.text for tier in settings.tiers},
            tier_of_model=tier_of_model,
            log=self._log,
        )

    def _settings(self) -> CatalogSettings | None:
        node = self._nodes.get(SETTINGS_FILE)
        if node is not None:
            return read_settings(node, self._log.in_file(SETTINGS_FILE))
        if SETTINGS_FILE not in self._names and not self._unreadable & {SETTINGS_FILE, "."}:
            self._log.in_file(SETTINGS_FILE).add(
                FILE_START,
                FaultRule.MISSING_FILE,
                f"The folder has no `{SETTINGS_FILE}`.",
                "Add one with `tiers` and `default_tier`.",
            )
        return None

    def _tiers(self, settings: CatalogSettings | None) -> Sequence[TierDraft]:
        """Returns the tiers that can be read: the listed ones in order, then the others."""
        files = {name for name in self._names if name.startswith(TIER_FOLDER)}
        ids = None if settings is None else [tier.text for tier in settings.tiers]
        if settings is not None:
            listed = {tier_file(tier.text) for tier in settings.tiers}
            for tier in settings.tiers:
                self._check_file_of(tier, files - listed)
            for file in sorted(files - listed):
                self._refuse_unlisted(file, ids or ())
        order = [tier_file(tier) for tier in ids or ()]
        drafts = []
        for file in (*order, *sorted(files.difference(order))):
            node = self._nodes.get(file)
            draft = None if node is None else read_tier(node, self._log.in_file(file))
            if draft is not None:
                drafts.append(draft)
        return drafts

    def _background(self) -> Sequence[BackgroundDraft]:
        node = self._nodes.get(BACKGROUND_FILE)
        return () if node is None else read_background(node, self._log.in_file(BACKGROUND_FILE))

    def _check_file_of(self, tier: Scalar, unlisted: Iterable[str]) -> None:
        file = tier_file(tier.text)
        if file in self._names or self._unreadable & {file, TIER_FOLDER.rstrip("/"), "."}:
            return
        self._log.in_file(SETTINGS_FILE).add(
            tier,
            FaultRule.MISSING_TIER_FILE,
            f"The tier {quoted(tier.text)} has no file {quoted(file)}.",
            did_you_mean(file, unlisted) or "Add it, or remove the tier.",
        )

    def _refuse_unlisted(self, file: str, tiers: Iterable[str]) -> None:
        stem = file.removeprefix(TIER_FOLDER).removesuffix(".yaml")
        self._log.in_file(file).add(
            FILE_START,
            FaultRule.UNLISTED_TIER_FILE,
            f"There is no tier {quoted(stem)} in `{SETTINGS_FILE}`.",
            did_you_mean(stem, tiers) or f"List it there under `tiers`, or remove {quoted(file)}.",
        )

    def _models(self, settings: CatalogSettings | None, known: KnownIds) -> RegistryDraft | None:
        node = self._nodes.get(MODELS_FILE)
        if node is None:
            return None
        faults = self._log.in_file(MODELS_FILE)
        registry = read_models(node, faults, known)
        if registry is not None and settings is not None:
            tiers = [tier.text for tier in settings.tiers]
            check_coverage(registry, tiers, settings.default_tier.text, faults)
        return registry

    def _ids_without_registry(self) -> tuple[str, ...] | None:
        is_absent = MODELS_FILE not in self._names and MODELS_FILE not in self._unreadable
        return () if is_absent else None

    def _rules(self, known: KnownIds) -> RuleBook | None:
        node = self._nodes.get(RULES_FILE)
        return None if node is None else read_rules(node, self._log.in_file(RULES_FILE), known)

    def _limits(self, known: KnownIds) -> Limits:
        node = self._nodes.get(LIMITS_FILE)
        return (
            Limits() if node is None else read_limits(node, self._log.in_file(LIMITS_FILE), known)
        )

    def _calibration(self) -> Calibration | None:
        node = self._nodes.get(CALIBRATION_FILE)
        faults = self._log.in_file(CALIBRATION_FILE)
        return None if node is None else read_calibration(node, faults)

    def _paraphrases(self) -> tuple[Paraphrase, ...]:
        node = self._nodes.get(PARAPHRASES_FILE)
        if node is None:
            return ()
        return tuple(read_paraphrases(node, self._log.in_file(PARAPHRASES_FILE)))

    def _cases(self, known: KnownIds, utterances: Mapping[str, Location]) -> tuple[Case, ...]:
        reading = CaseReading(known, utterances)
        return tuple(
            case
            for name, node in self._nodes.items()
            if name.startswith(CASE_FOLDER)
            for case in reading.read(node, self._log.in_file(name))
        )

    def _are_readable(self, folder: str) -> bool:
        """Returns whether every file of a folder could be read."""
        is_missed = any(f"{file}/".startswith(folder) or file == "." for file in self._unreadable)
        is_broken = any(name.startswith(folder) and name not in self._nodes for name in self._names)
        return not is_missed and not is_broken


@dataclass(frozen=True, slots=True, kw_only=True)
class _HeldOut:
    """What checks a catalog and teaches it nothing."""

    cases: tuple[Case, ...]
    paraphrases: tuple[Paraphrase, ...]


def _tier_ids(settings: CatalogSettings | None) -> frozenset[str] | None:
    return None if settings is None else frozenset(tier.text for tier in settings.tiers)


def _utterances(
    drafts: Sequence[TierDraft], background: Sequence[BackgroundDraft]
) -> Mapping[str, Sequence[Scalar]]:
    """Returns the utterances of each file."""
    by_file = {
        draft.file: [one for task in draft.tasks for one in task.utterances] for draft in drafts
    }
    return by_file | {BACKGROUND_FILE: [one for group in background for one in group.utterances]}


def _assemble(  # noqa: PLR0913 - one for each kind of file
    settings: CatalogSettings,
    tiers: tuple[Tier, ...],
    background: tuple[BackgroundGroup, ...],
    registry: RegistryDraft | None,
    *,
    rules: RuleBook | None,
    limits: Limits,
    held_out: _HeldOut,
    evidence: tuple[EvidenceRow, ...],
    calibration: Calibration | None,
) -> Catalog:
    """Puts the parts together once none of them has a fault."""
    baseline = settings.baseline_model
    catalog = Catalog(
        tiers=tiers,
        background=background,
        default_tier=TierId(settings.default_tier.text),
        encoder=settings.encoder,
        threshold=settings.threshold,
        margin=settings.margin,
        tie=settings.tie,
        languages=settings.languages,
        rules=rules or RuleBook(),
        models=tuple(registry.models) if registry else (),
        baseline_model=ModelId(baseline.text) if baseline else None,
        spend_limits=limits.spending,
        call_limits=limits.calls,
        cases=held_out.cases,
        paraphrases=held_out.paraphrases,
        ignored_lint=settings.ignored_lint,
        learned=settings.learned,
        evidence=evidence,
        calibration=calibration,
        stale_calibration=settings.stale_calibration,
        content_revision="",
    )
    return replace(catalog, content_revision=content_revision(catalog))


@dataclass(slots=True)
class _Numbering:
    """Gives tiers their rank and tasks their index, in order; background groups come last."""

    task_count: int = 0

    def tiers(self, drafts: Sequence[TierDraft]) -> tuple[Tier, ...]:
        return tuple(self._tier(rank, draft) for rank, draft in enumerate(drafts))

    def _tier(self, rank: int, draft: TierDraft) -> Tier:
        return Tier(
            id=TierId(draft.id),
            rank=rank,
            description=draft.description,
            threshold=draft.threshold,
            tasks=tuple(self._task(task, draft) for task in draft.tasks),
            location=Location(file=draft.file, line=draft.line),
        )

    def _task(self, task: TaskDraft, tier: TierDraft) -> Task:
        index = self.task_count
        self.task_count += 1
        return Task(
            id=TaskId(task.id.text),
            index=index,
            tier=TierId(tier.id),
            description=task.description,
            threshold=task.threshold,
            utterances=_numbered(task.utterances, index, tier.file),
            location=Location(file=tier.file, line=task.id.line),
        )

    def background(self, drafts: Sequence[BackgroundDraft]) -> tuple[BackgroundGroup, ...]:
        return tuple(
            BackgroundGroup(
                id=draft.id.text,
                description=draft.description,
                utterances=_numbered(draft.utterances, index, BACKGROUND_FILE),
                location=Location(file=BACKGROUND_FILE, line=draft.id.line),
            )
            for index, draft in enumerate(drafts, start=self.task_count)
        )


def _numbered(utterances: Sequence[Scalar], task_index: int, file: str) -> tuple[Utterance, ...]:
    return tuple(
        Utterance(text=one.text, task_index=task_index, location=Location(file=file, line=one.line))
        for one in utterances
    )
