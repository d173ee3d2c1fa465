"""Files made to break a reader: each ends as a fault, soon."""

import contextlib
from collections.abc import Callable, Mapping
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierwise_server.catalog.faults import CatalogInvalidError, Fault
from tierwise_server.catalog.loader import CatalogFiles, parse_catalog

FaultsOf: TypeAlias = Callable[[Mapping[str, str | bytes]], tuple[Fault, ...]]

BILLION_LAUGHS = "a: &a [ha, ha, ha, ha, ha, ha, ha, ha, ha]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "billion laughs": BILLION_LAUGHS,
    "self reference": "tiers: &a [*a]\n",
    "python object": "!!python/object/apply:os.system ['touch /tmp/owned']\n",
    "python name": "tiers: !!python/name:os.system\n",
    "binary": "tiers: !!binary aGVsbG8=\n",
    "set": "tiers: !!set {a, b}\n",
    "flow lists": "[" * 200_000,
    "flow mappings": "{a: " * 200_000,
    "block lists": "- " * 200_000 + "a",
    "block mappings": "".join(f"{' ' * depth}a:\n" for depth in range(500)),
    "key of keys": "? " * 10_000 + "a",
    "long key": f"{'k' * 2_000_000}: 1\n",
    "long number": f"threshold: {'9' * 2_000_000}\n",
    "exponent": "threshold: 1e999999999\n",
    "many keys": "".join(f"k{number}: 1\n" for number in range(50_000)),
    "merge": "<<: {tiers: [a]}\n<<: [{}, {}]\n",
    "unknown directive": "%FOO bar\n---\ntiers: [a]\n",
    "version directive": "%YAML 3.0\n---\ntiers: [a]\n",
    "tag directive": "%TAG !y! tag:yaml.org,2002:\n---\ntiers: !y!str a\n",
    "null bytes": b"\0" * 1000,
    "high control": "tiers: [\u0080]\n",
    "surrogate escape": 'tiers: ["\\ud800"]\n',
    "noncharacter": "tiers: [\uffff]\n",
    "lone carriage returns": "tiers:\r- a\rmargin: b\r",
    "bare scalar": "hello",
    "bare list": "- hello",
    "only quotes": '"',
    "empty documents": "---\n" * 1000,
    "unclosed comment": "tiers: [a, #",
    "complex keys": "{[a]: b, {c: d}: e}\n",
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "file", ["catalog.yaml", "tiers/budget.yaml", "rules.yaml", "models.yaml", "cases/basics.yaml"]
)
def test_hostile_file_is_faults_of_that_file(
    name: str, file: str, faults_of: FaultsOf, valid_files: dict[str, str]
) -> None:
    faults = faults_of({**valid_files, file: HOSTILE[name]})

    assert file in {fault.file for fault in faults}
    assert all(fault.line >= 1 and fault.column >= 1 for fault in faults)
    assert all(len(str(fault)) < 1000 for fault in faults)


def test_line_of_a_null_byte_is_right(faults_of: FaultsOf, valid_files: dict[str, str]) -> None:
    valid_files["rules.yaml"] = "# é\noverride: []\ndefault: [\0]\n"

    (fault,) = faults_of(valid_files)

    assert (fault.line, fault.column, fault.rule) == (3, 11, "invalid-character")


@settings(max_examples=300)
@given(st.sampled_from(["catalog.yaml", "tiers/a.yaml", "rules.yaml", "models.yaml"]), st.data())
def test_any_bytes_are_a_catalog_or_faults(file: str, data: st.DataObject) -> None:
    content = data.draw(
        st.one_of(
            st.binary(max_size=200),
            st.text(alphabet="tiers:rulesmodels[]{}-,&*!|>'\"%@`#?<~ \n\t0.1", max_size=200).map(
                str.encode
            ),
        )
    )
    files = {
        "catalog.yaml": b"tiers: [a]\ndefault_tier: a\n",
        "tiers/a.yaml": b"tier: a\ntasks: {b: {description: c, utterances: [d e]}}\n",
        file: content,
    }

    with contextlib.suppress(CatalogInvalidError):
        parse_catalog(CatalogFiles(content=files))
