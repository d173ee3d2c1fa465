"""Every rule that catalog files are held to, each with one bad file."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import pytest

from tierwise_server.catalog.case_files import MAX_CASES
from tierwise_server.catalog.document import MAX_DEPTH, MAX_VALUES
from tierwise_server.catalog.faults import MAX_FAULTS, Fault, FaultRule, did_you_mean, quoted
from tierwise_server.catalog.ids import MAX_ID_LENGTH
from tierwise_server.catalog.tier_files import MAX_PROMPT_LENGTH, MAX_TASKS, MAX_UTTERANCES

FaultsOf: TypeAlias = Callable[[Mapping[str, str | bytes]], tuple[Fault, ...]]
Edited: TypeAlias = Callable[..., dict[str, str]]

BUDGET = "tiers/budget.yaml"
PREMIUM = "tiers/premium.yaml"
CASES = "cases/basics.yaml"
UTTERANCE = "- summarize this email in two sentences"

# Reading a folder finds these; see test_files.py.
FOLDER_RULES = {
    FaultRule.MISSING_FOLDER,
    FaultRule.UNKNOWN_FILE,
    FaultRule.UNREADABLE_FILE,
    FaultRule.LINK_OUTSIDE,
    FaultRule.NOT_A_FILE,
    FaultRule.FILE_TOO_LARGE,
    FaultRule.TOO_MANY_FILES,
    FaultRule.CHANGING_FILES,
}
# See test_limits.py.
LIMIT_RULES = {FaultRule.DUPLICATE_LIMIT}
# See test_evidence_files.py.
EVIDENCE_RULES = {FaultRule.INVALID_EVIDENCE, FaultRule.TOO_MUCH_EVIDENCE}
# See benching/test_sample_files.py.
SAMPLE_RULES = {
    FaultRule.DUPLICATE_SAMPLE,
    FaultRule.UNSCORED_SAMPLE,
    FaultRule.MISSING_REFERENCE,
    FaultRule.CONTRADICTORY_REFERENCES,
    FaultRule.INVALID_SCHEMA,
}
# These need files of a size or encoding that an edit doesn't make, and have tests below.
BULK_RULES = {
    FaultRule.INVALID_ENCODING,
    FaultRule.MISSING_FILE,
    FaultRule.MISSING_TIER_FILE,
    FaultRule.UNLISTED_TIER_FILE,
    FaultRule.TOO_MANY_VALUES,
    FaultRule.TOO_MANY_TASKS,
    FaultRule.TOO_MANY_UTTERANCES,
    FaultRule.TOO_MANY_FAULTS,
    FaultRule.EMPTY_FILE,
}


def utterance(written: str) -> tuple[str, str, str]:
    """Returns the edit that puts another first utterance into the budget tier, on line 8."""
    return BUDGET, UTTERANCE, f"- {written}"


# The edit, then the faults that it makes: file, line, rule, and a word of the suggestion.
TABLE: dict[str, tuple[tuple[str, str, str], str, int, str, str]] = {
    # The YAML of one file.
    "tab": (
        (BUDGET, "    utterances:\n      - translate", "\tutterances:\n      - translate"),
        BUDGET,
        13,
        "syntax",
        "spaces",
    ),
    "unclosed quote": (utterance("'never closed"), BUDGET, 15, "syntax", "quotes"),
    "at sign": (utterance("@all hello"), BUDGET, 8, "syntax", "quotes"),
    "two colons": ((BUDGET, "Bounded work.", "a: b"), BUDGET, 2, "syntax", "quotes"),
    "control character": (utterance("a\x07b"), BUDGET, 8, "invalid-character", "Remove"),
    "null character": (utterance("'a\x00b'"), BUDGET, 8, "invalid-character", "Remove"),
    "foreign line end": (utterance("a\u2028b"), BUDGET, 8, "invalid-character", "\\u2028"),
    "escaped control": (utterance('"a\\x07b"'), BUDGET, 8, "invalid-character", "Remove"),
    "mark in the text": (utterance("a\ufeffb"), BUDGET, 8, "invalid-character", "Remove"),
    "second document": (
        (PREMIUM, "nothing\n", "nothing\n---\ntier: premium\n"),
        PREMIUM,
        7,
        "several-documents",
        "one document",
    ),
    "deep nesting": (utterance("[" * MAX_DEPTH), BUDGET, 8, "too-deep", ""),
    "anchor": (utterance("&a hello"), BUDGET, 8, "alias", "quotes"),
    "alias": (utterance("*a"), BUDGET, 8, "alias", "quotes"),
    "python tag": (
        utterance("!!python/object/apply:os.system [ls]"),
        BUDGET,
        8,
        "tag",
        "Remove",
    ),
    "plain tag": (utterance("!mine hello"), BUDGET, 8, "tag", "Remove"),
    "merge key": (
        (PREMIUM, "  design:\n", "  <<: {a: b}\n  design:\n"),
        PREMIUM,
        3,
        "merge-key",
        "out",
    ),
    "key twice": (
        ("catalog.yaml", "margin: 0.05", "threshold: 0.2"),
        "catalog.yaml",
        4,
        "duplicate-key",
        "one of the two",
    ),
    "task twice in a file": (
        (BUDGET, "  translation:", "  summarization:"),
        BUDGET,
        10,
        "duplicate-key",
        "one of the two",
    ),
    "boolean key": ((BUDGET, "  translation:", "  no:"), BUDGET, 10, "key-not-text", '"no"'),
    "list as key": (
        (PREMIUM, "tier: premium\n", "tier: premium\n? [a]\n: b\n"),
        PREMIUM,
        2,
        "key-not-text",
        "",
    ),
    # One value.
    "misspelt key": (
        ("catalog.yaml", "margin:", "magrin:"),
        "catalog.yaml",
        4,
        "unknown-key",
        "`margin`",
    ),
    "key of another place": (
        (
            BUDGET,
            "    utterances:\n      - translate",
            "    tier: budget\n    utterances:\n      - t",
        ),
        BUDGET,
        13,
        "unknown-key",
        "",
    ),
    "no description": (
        (PREMIUM, "    description: Design a system.\n", ""),
        PREMIUM,
        4,
        "missing-key",
        "description",
    ),
    "model without a tier": (
        ("models.yaml", "    tier: premium\n", "    quality: 0.9\n"),
        "models.yaml",
        16,
        "missing-key",
        "tier",
    ),
    "list as tier file": ((PREMIUM, "tier: premium", "- a\n- b #"), PREMIUM, 3, "syntax", ""),
    "text for a number": (
        ("catalog.yaml", "0.05", "narrow"),
        "catalog.yaml",
        4,
        "wrong-type",
        "",
    ),
    "quoted number": (
        ("catalog.yaml", "0.05", '"0.05"'),
        "catalog.yaml",
        4,
        "wrong-type",
        "Write 0.05",
    ),
    "underscores in a number": (
        ("models.yaml", "200000", "200_000"),
        "models.yaml",
        21,
        "wrong-type",
        "Write 200000",
    ),
    "octal number": (("models.yaml", "200000", "0777"), "models.yaml", 21, "wrong-type", ""),
    "infinite number": (("catalog.yaml", "0.05", ".inf"), "catalog.yaml", 4, "wrong-type", ""),
    "not a number": (("catalog.yaml", "0.05", ".nan"), "catalog.yaml", 4, "wrong-type", ""),
    "huge number": (
        ("models.yaml", "200000", "9" * 5000),
        "models.yaml",
        21,
        "wrong-type",
        "",
    ),
    "no number": (("catalog.yaml", " 0.05", ""), "catalog.yaml", 4, "wrong-type", ""),
    "word for a list": (
        ("rules.yaml", "[code-review]", "code-review"),
        "rules.yaml",
        3,
        "wrong-type",
        "[code-review]",
    ),
    "mapping for a text": (utterance("translate: hello"), BUDGET, 8, "wrong-type", "quotes"),
    "boolean": (utterance("no"), BUDGET, 8, "not-text", '"no"'),
    "float": (utterance("1.0"), BUDGET, 8, "not-text", '"1.0"'),
    "integer": (utterance("42"), BUDGET, 8, "not-text", '"42"'),
    "date": (utterance("2024-01-31"), BUDGET, 8, "not-text", '"2024-01-31"'),
    "null": (utterance("null"), BUDGET, 8, "not-text", '"null"'),
    "sexagesimal": (utterance("12:30:45"), BUDGET, 8, "not-text", '"12:30:45"'),
    "norwegian": (
        ("catalog.yaml", "[en, de]", "[en, no]"),
        "catalog.yaml",
        6,
        "not-text",
        '"no"',
    ),
    "nothing": (utterance(""), BUDGET, 8, "empty-text", "Write"),
    "white space": (utterance('" \\t\\n "'), BUDGET, 8, "empty-text", "Write"),
    "invisible": (utterance('"\\u200b\\u2060"'), BUDGET, 8, "empty-text", "Write"),
    "long utterance": (
        utterance("x" * (MAX_PROMPT_LENGTH + 1)),
        BUDGET,
        8,
        "text-too-long",
        "Shorten",
    ),
    "no utterances": (
        (PREMIUM, "\n      - design a queue that loses nothing", " []"),
        PREMIUM,
        5,
        "empty-list",
        "Fill",
    ),
    "too many tiers": (
        ("catalog.yaml", "[budget, premium]", f"[{', '.join(f't{n}' for n in range(17))}]"),
        "catalog.yaml",
        1,
        "list-too-long",
        "",
    ),
    "tier twice": (
        ("catalog.yaml", "[budget, premium]", "\n- budget\n- premium\n- budget"),
        "catalog.yaml",
        4,
        "duplicate-item",
        "one of the two",
    ),
    "threshold over one": (
        ("catalog.yaml", "0.35", "1.01"),
        "catalog.yaml",
        3,
        "out-of-range",
        "",
    ),
    "window of zero": (("models.yaml", "200000", "0"), "models.yaml", 21, "out-of-range", ""),
    "misspelt tie": (
        ("catalog.yaml", "tie: default", "tie: highest"),
        "catalog.yaml",
        5,
        "unknown-value",
        "`higher`",
    ),
    "unknown attachment": (
        ("rules.yaml", "[image]", "[images]"),
        "rules.yaml",
        6,
        "unknown-value",
        "`image`",
    ),
    "price as a word": (
        ("models.yaml", "price: catalog", "price: cheap"),
        "models.yaml",
        20,
        "unknown-value",
        "unknown",
    ),
    "country for a language": (
        ("catalog.yaml", "[en, de]", "[en, jp]"),
        "catalog.yaml",
        6,
        "unknown-language",
        "`ja`",
    ),
    "region in a language": (
        ("catalog.yaml", "[en, de]", "[en-US]"),
        "catalog.yaml",
        6,
        "unknown-language",
        "`en`",
    ),
    "capital in an id": (
        (BUDGET, "  translation:", "  Good Translation:"),
        BUDGET,
        10,
        "invalid-id",
        "`good-translation`",
    ),
    "long id": (
        (BUDGET, "  translation:", f"  {'d' * (MAX_ID_LENGTH + 1)}:"),
        BUDGET,
        10,
        "invalid-id",
        "",
    ),
    "label key": (
        ("models.yaml", "{region: eu}", "{Region: eu}"),
        "models.yaml",
        12,
        "invalid-id",
        "",
    ),
    "reserved task": (
        (BUDGET, "  translation:", "  oos:"),
        BUDGET,
        10,
        "reserved-id",
        "another id",
    ),
    "address without a host": (
        ("models.yaml", "http://localhost:8000/v1", "localhost:8000"),
        "models.yaml",
        13,
        "invalid-url",
        "http",
    ),
    "password in an address": (
        ("models.yaml", "http://localhost", "http://me:secret@localhost"),
        "models.yaml",
        13,
        "invalid-url",
        "user name",
    ),
    "port out of range": (
        ("models.yaml", "localhost:8000", "localhost:99999"),
        "models.yaml",
        13,
        "invalid-url",
        "",
    ),
    "look-behind": (
        ("rules.yaml", "'```'", "'(?<=a)b'"),
        "rules.yaml",
        10,
        "invalid-regex",
        "look-around",
    ),
    "explosive repetition": (
        ("rules.yaml", "'```'", "'((a{100}){100}){100}'"),
        "rules.yaml",
        10,
        "invalid-regex",
        "repetition",
    ),
    # References.
    "unknown default tier": (
        ("catalog.yaml", "default_tier: premium", "default_tier: premum"),
        "catalog.yaml",
        2,
        "unknown-tier",
        "`premium`",
    ),
    "unknown tier of a rule": (
        ("rules.yaml", "tier: premium", "tier: premier"),
        "rules.yaml",
        4,
        "unknown-tier",
        "`premium`",
    ),
    "unknown tier of a case": (
        (CASES, "previous_tier: premium", "previous_tier: none"),
        CASES,
        10,
        "unknown-tier",
        "",
    ),
    "unknown task": (
        ("rules.yaml", "task: design", "task: desing"),
        "rules.yaml",
        11,
        "unknown-task",
        "`design`",
    ),
    "unknown task of a case": (
        (CASES, "task: summarization", "task: summarisation"),
        CASES,
        3,
        "unknown-task",
        "`summarization`",
    ),
    "unknown baseline": (
        ("catalog.yaml", "baseline_model: large", "baseline_model: largest"),
        "catalog.yaml",
        8,
        "unknown-model",
        "`large`",
    ),
    "unknown model of a rule": (
        ("rules.yaml", "tier: premium", "model: smal"),
        "rules.yaml",
        4,
        "unknown-model",
        "`small`",
    ),
    # Tiers and tasks.
    "tier of another file": (
        (BUDGET, "tier: budget", "tier: premium"),
        BUDGET,
        1,
        "misnamed-tier-file",
        "tier: budget",
    ),
    "no tasks": (
        (
            PREMIUM,
            "\n  design:\n    description: Design a system.\n    utterances:\n"
            "      - design a queue that loses nothing",
            " {}",
        ),
        PREMIUM,
        2,
        "empty-tasks",
        "Add one",
    ),
    "task in two tiers": (
        (PREMIUM, "  design:", "  translation:"),
        PREMIUM,
        3,
        "duplicate-task",
        "another id",
    ),
    "task like a tier": (
        (BUDGET, "  translation:", "  premium:"),
        BUDGET,
        10,
        "ambiguous-id",
        "another id",
    ),
    "utterance twice in a task": (
        (BUDGET, '"tl;dr: the thread"', "Summarize  THIS email in two sentences"),
        BUDGET,
        9,
        "duplicate-utterance",
        "one of the two",
    ),
    "utterance in two tiers": (
        (PREMIUM, "design a queue that loses nothing", "Translate this to french"),
        PREMIUM,
        6,
        "duplicate-utterance",
        "one of the two",
    ),
    # Rules.
    "rule twice": (
        ("rules.yaml", "long-with-code", "review-is-premium"),
        "rules.yaml",
        9,
        "duplicate-rule",
        "another name",
    ),
    "no condition": (
        ("rules.yaml", "when: {attachments: [image]}", "when: {}"),
        "rules.yaml",
        6,
        "empty-condition",
        "default_tier",
    ),
    "shorter than it is long": (
        ("rules.yaml", "min_characters: 4000,", "min_characters: 4000, max_characters: 3999,"),
        "rules.yaml",
        10,
        "never-matches",
        "Swap",
    ),
    "same condition later": (
        ("rules.yaml", "{attachments: [image]}", "{task_tag: [code-review]}"),
        "rules.yaml",
        5,
        "shadowed-rule",
        "condition",
    ),
    "yields nothing": (
        ("rules.yaml", "then: {require: [vision]}", "then: {}"),
        "rules.yaml",
        7,
        "empty-yield",
        "Add",
    ),
    "two targets": (
        ("rules.yaml", "{task: design}", "{task: design, model: large}"),
        "rules.yaml",
        11,
        "several-targets",
        "exact",
    ),
    "requirement in a default rule": (
        ("rules.yaml", "{task: design}", "{require: [tools]}"),
        "rules.yaml",
        11,
        "require-after-matching",
        "override",
    ),
    # Models.
    "model twice": (
        ("models.yaml", "id: large", "id: small"),
        "models.yaml",
        16,
        "duplicate-model",
        "another id",
    ),
    "negative price": (
        ("models.yaml", "input: 0.15,", "input: -0.15,"),
        "models.yaml",
        6,
        "negative-price",
        "",
    ),
    "unknown capability": (
        ("models.yaml", "[tools, vision]", "[tools, visoin]"),
        "models.yaml",
        9,
        "unknown-capability",
        "`vision`",
    ),
    "output beyond the window": (
        ("models.yaml", "64000", "200001"),
        "models.yaml",
        22,
        "output-exceeds-window",
        "together",
    ),
    "tier without a model": (
        ("models.yaml", "    tier: budget\n", "    tier: premium\n"),
        "models.yaml",
        1,
        "empty-tier",
        "tier: budget",
    ),
    "default tier without a model": (
        ("models.yaml", "    tier: premium\n", "    tier: budget\n"),
        "models.yaml",
        1,
        "default-tier-without-model",
        "tier: premium",
    ),
    # Cases.
    "case without a prompt": (
        (CASES, "- prompt: shorten the article\n  tier", "- tier"),
        CASES,
        1,
        "case-without-prompt",
        "prompt",
    ),
    "prompt and messages": (
        (CASES, "- messages:", "- prompt: hello\n  messages:"),
        CASES,
        5,
        "case-without-prompt",
        "one of the two",
    ),
    "messages without a user": (
        (CASES, "role: user", "role: assistant"),
        CASES,
        5,
        "case-without-prompt",
        "user",
    ),
    "task of another tier": (
        (CASES, "task: summarization", "task: design"),
        CASES,
        3,
        "task-of-other-tier",
        "tier: premium",
    ),
    "case twice": (
        (CASES, "- messages:", "- prompt: Shorten  the article\n  tier: premium\n- messages:"),
        CASES,
        5,
        "duplicate-case",
        "one of the two",
    ),
    "leaked prompt": (
        (CASES, "shorten the article", "TRANSLATE this to French"),
        CASES,
        1,
        "leaked-case",
        "another way",
    ),
    "leaked message": (
        (CASES, "text: ok do it", "text: translate this to French"),
        CASES,
        5,
        "leaked-case",
        "another way",
    ),
}
# Edits that break more than the one thing that they are about.
CONSEQUENCES = {
    "too many tiers",
    "model twice",
    "no tasks",
    "task in two tiers",
}


@pytest.mark.parametrize("name", TABLE)
def test_bad_file_is_one_fault_with_place_rule_and_suggestion(
    name: str, faults_of: FaultsOf, edited: Edited
) -> None:
    edit, file, line, rule, suggestion = TABLE[name]

    faults = faults_of(edited(edit))

    found = next(fault for fault in faults if fault.rule == rule)
    assert (found.file, found.line) == (file, line)
    assert found.column >= 1
    assert found.message.endswith((".", "?"))
    assert suggestion in found.suggestion
    if name not in CONSEQUENCES:
        assert len(faults) == 1, [str(fault) for fault in faults]


SNAPSHOT_RULES = {FaultRule.UNUSABLE_PRICE, FaultRule.SELF_TEST}
"""Found when a catalog is put into service: prices change without the files, and the server's
settings say whether cases have to hold."""


def test_every_rule_has_a_bad_file() -> None:
    listed = FOLDER_RULES | BULK_RULES | LIMIT_RULES | EVIDENCE_RULES | SAMPLE_RULES
    shown = {row[3] for row in TABLE.values()} | listed | SNAPSHOT_RULES
    assert shown == set(FaultRule)


def test_all_faults_of_all_files_are_reported_at_once_in_order(
    faults_of: FaultsOf, edited: Edited
) -> None:
    names = ("misspelt key", "boolean", "look-behind", "negative price", "leaked message")

    faults = faults_of(edited(*(TABLE[name][0] for name in names)))

    assert [(fault.file, fault.line, fault.rule) for fault in faults] == sorted(
        (TABLE[name][1], TABLE[name][2], TABLE[name][3]) for name in names
    )


def test_fault_shows_as_compilers_show_them(faults_of: FaultsOf, edited: Edited) -> None:
    (fault,) = faults_of(edited(TABLE["misspelt key"][0]))

    assert str(fault) == (
        "catalog.yaml:4:1: unknown-key: Unknown key `magrin` in the catalog's settings. "
        "Did you mean `margin`?"
    )


def test_duplicate_utterance_names_the_other_place(faults_of: FaultsOf, edited: Edited) -> None:
    (fault,) = faults_of(edited(TABLE["utterance in two tiers"][0]))

    assert "tiers/budget.yaml:14" in fault.message


def test_composed_and_decomposed_letters_are_the_same_utterance(
    faults_of: FaultsOf, edited: Edited
) -> None:
    (fault,) = faults_of(
        edited(
            utterance("r\u00e9sum\u00e9 this"),
            (BUDGET, '"tl;dr: the thread"', "Re\u0301sume\u0301 this"),
        )
    )

    assert (fault.line, fault.rule) == (9, "duplicate-utterance")


def test_byte_that_is_not_utf8_is_named_with_its_place(
    faults_of: FaultsOf, valid_files: dict[str, str]
) -> None:
    spoilt = valid_files[BUDGET].encode().replace(b"tl;dr", b"tl\xffdr")

    (fault,) = faults_of({**valid_files, BUDGET: spoilt})

    assert (fault.file, fault.line, fault.column, fault.rule) == (BUDGET, 9, 12, "invalid-encoding")
    assert "0xFF" in fault.message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_other_encodings_are_refused(
    encoding: str, faults_of: FaultsOf, valid_files: dict[str, str]
) -> None:
    (fault,) = faults_of({**valid_files, PREMIUM: valid_files[PREMIUM].encode(encoding)})

    assert (fault.file, fault.line, fault.rule) == (PREMIUM, 1, "invalid-encoding")


@pytest.mark.parametrize("content", ["", "# all commented out\n"])
def test_file_that_holds_nothing_is_a_fault(
    content: str, faults_of: FaultsOf, valid_files: dict[str, str]
) -> None:
    (fault,) = faults_of({**valid_files, "rules.yaml": content})

    assert (fault.file, fault.line, fault.rule) == ("rules.yaml", 1, "empty-file")


def test_missing_settings_do_not_make_every_reference_a_fault(
    faults_of: FaultsOf, valid_files: dict[str, str]
) -> None:
    del valid_files["catalog.yaml"]

    (fault,) = faults_of(valid_files)

    assert (fault.file, fault.line, fault.rule) == ("catalog.yaml", 1, "missing-file")


@pytest.mark.parametrize("broken", [BUDGET, "models.yaml", "catalog.yaml"])
def test_references_into_a_file_that_does_not_parse_are_no_faults(
    broken: str, faults_of: FaultsOf, valid_files: dict[str, str]
) -> None:
    (fault,) = faults_of({**valid_files, broken: "{"})

    assert (fault.file, fault.rule) == (broken, "syntax")


def test_listed_tier_needs_a_file(faults_of: FaultsOf, valid_files: dict[str, str]) -> None:
    del valid_files["rules.yaml"], valid_files["cases/basics.yaml"], valid_files[PREMIUM]

    (fault,) = faults_of(valid_files)

    assert (fault.file, fault.line, fault.column) == ("catalog.yaml", 1, 17)
    assert fault.rule is FaultRule.MISSING_TIER_FILE
    assert "tiers/premium.yaml" in fault.message


def test_tier_file_has_to_be_listed(faults_of: FaultsOf, valid_files: dict[str, str]) -> None:
    valid_files["tiers/premiun.yaml"] = (
        "tier: premiun\ntasks: {x: {description: d, utterances: [something else]}}\n"
    )

    (fault,) = faults_of(valid_files)

    assert (fault.file, fault.line) == ("tiers/premiun.yaml", 1)
    assert fault.rule is FaultRule.UNLISTED_TIER_FILE
    assert fault.suggestion == "Did you mean `premium`?"


def test_rules_that_only_add_a_requirement_do_not_shadow(
    parse: Callable[[Mapping[str, str]], object], edited: Edited
) -> None:
    parse(edited(("rules.yaml", "{task_tag: [code-review]}", "{attachments: [image, audio]}")))
    files = edited(
        (
            "rules.yaml",
            "default:",
            "  - name: images-are-premium\n    when: {attachments: [image]}\n"
            "    then: {tier: premium}\ndefault:",
        )
    )

    parse(files)


@pytest.mark.parametrize("reserved", ["none", "oos"])
def test_tier_may_not_take_the_name_of_what_matches_nothing(
    reserved: str, faults_of: FaultsOf
) -> None:
    (fault,) = faults_of(
        {
            "catalog.yaml": f"tiers: [{reserved}]\ndefault_tier: {reserved}\n",
            f"tiers/{reserved}.yaml": (
                f"tier: {reserved}\ntasks: {{a: {{description: d, utterances: [hi]}}}}\n"
            ),
        }
    )

    assert (fault.file, fault.line, fault.rule) == ("catalog.yaml", 1, "reserved-id")


def test_count_of_values_in_a_file_is_bounded(
    faults_of: FaultsOf, valid_files: dict[str, str]
) -> None:
    valid_files["cases/many.yaml"] = "- a\n" * MAX_VALUES

    (fault,) = faults_of(valid_files)

    assert (fault.line, fault.rule) == (MAX_VALUES, "too-many-values")


def test_count_of_cases_is_bounded(faults_of: FaultsOf, valid_files: dict[str, str]) -> None:
    valid_files["cases/many.yaml"] = "- a\n" * (MAX_CASES + 1)

    (fault,) = faults_of(valid_files)

    assert (fault.line, fault.rule) == (MAX_CASES + 1, "list-too-long")


def test_count_of_tasks_is_bounded(faults_of: FaultsOf, valid_files: dict[str, str]) -> None:
    tasks = "".join(
        f"  t{number}: {{description: d, utterances: [u{number}]}}\n" for number in range(MAX_TASKS)
    )
    valid_files[PREMIUM] += tasks

    faults = faults_of(valid_files)

    assert [(fault.file, fault.rule) for fault in faults] == [(PREMIUM, "too-many-tasks")]
    assert faults[0].line == 6 + MAX_TASKS - 2


def test_count_of_utterances_is_bounded(faults_of: FaultsOf, valid_files: dict[str, str]) -> None:
    valid_files[PREMIUM] += "".join(f"      - u{number}\n" for number in range(MAX_UTTERANCES - 1))

    (fault,) = faults_of(valid_files)

    assert (fault.file, fault.rule) == (PREMIUM, "too-many-utterances")
    assert fault.line == 5 + MAX_UTTERANCES + 1 - 3


def test_count_of_faults_is_bounded(faults_of: FaultsOf, valid_files: dict[str, str]) -> None:
    valid_files[PREMIUM] += "      - no\n" * (2 * MAX_FAULTS)

    faults = faults_of(valid_files)

    assert len(faults) == MAX_FAULTS + 1
    assert faults[-1].rule is FaultRule.TOO_MANY_FAULTS


def test_suggestion_stays_cheap_for_a_hostile_word() -> None:
    assert did_you_mean("a" * 1_000_000, ["aa"]) == ""


def test_quoted_text_cannot_move_the_cursor_or_fill_the_screen() -> None:
    assert quoted("a\x1b[2J\nb") == "`a�[2J�b`"
    assert len(quoted("x" * 1000)) == 62
