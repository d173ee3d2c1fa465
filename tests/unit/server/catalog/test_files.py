"""Reading a catalog folder: what belongs in it, and all of it from one moment."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest

from tierwise_server.catalog.faults import CatalogInvalidError, Fault
from tierwise_server.catalog.files import MAX_FILE_BYTES, MAX_FILES, read_catalog_files
from tierwise_server.catalog.loader import load_catalog

Files: TypeAlias = dict[str, str]
WriteCatalog: TypeAlias = Callable[[Mapping[str, str]], Path]


@pytest.fixture
def folder(write_catalog: WriteCatalog, valid_files: Files) -> Path:
    return write_catalog(valid_files)


def only_fault(folder: Path) -> Fault:
    with pytest.raises(CatalogInvalidError) as caught:
        load_catalog(folder)
    (fault,) = caught.value.faults
    return fault


def test_bytes_are_kept_by_path(folder: Path, valid_files: Files) -> None:
    files = read_catalog_files(folder)

    assert files.content == {name: text.encode() for name, text in valid_files.items()}
    assert files.faults == ()


def test_missing_folder_is_one_fault(tmp_path: Path) -> None:
    fault = only_fault(tmp_path / "nowhere")

    assert (fault.file, fault.rule) == (".", "missing-folder")
    assert "nowhere" in fault.message


def test_file_is_no_folder(folder: Path) -> None:
    assert only_fault(folder / "catalog.yaml").rule == "missing-folder"


def test_empty_folder_lacks_its_settings(tmp_path: Path) -> None:
    fault = only_fault(tmp_path)

    assert (fault.file, fault.line, fault.rule) == ("catalog.yaml", 1, "missing-file")


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("rule.yaml", "`rules.yaml`"),
        ("catalog.yml", "`catalog.yaml`"),
        ("RULES.YAML", "`rules.yaml`"),
        ("tiers/budget.yml", "`tiers/budget.yaml`"),
        ("tiers/Budget.YAML", "`tiers/Budget.yaml`"),
        ("cases/more.yml", "`cases/more.yaml`"),
        ("other.yaml", "Known here"),
    ],
)
def test_yaml_file_that_is_not_known_is_a_fault(folder: Path, name: str, suggestion: str) -> None:
    (folder / name).write_text("a: b\n")

    fault = only_fault(folder)

    assert (fault.file, fault.line, fault.rule) == (name, 1, "unknown-file")
    assert suggestion in fault.suggestion


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("tier", "`tiers`"), ("case", "`cases`"), ("tiers/old", "Move"), ("stuff", "Known here")],
)
def test_folder_that_is_not_known_is_a_fault(folder: Path, name: str, suggestion: str) -> None:
    (folder / name).mkdir()

    fault = only_fault(folder)

    assert (fault.file, fault.rule) == (name, "unknown-file")
    assert suggestion in fault.suggestion


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        ".gitignore",
        ".hidden.yaml",
        "tiers/.budget.yaml.swp",
        "tiers/budget.yaml~",
        "tiers/README.md",
        "cases/notes.txt",
    ],
)
def test_other_files_are_left_alone(folder: Path, name: str) -> None:
    before = read_catalog_files(folder).content_hash
    (folder / name).write_text("anything: [")

    load_catalog(folder)

    assert read_catalog_files(folder).content_hash == before


@pytest.mark.parametrize("name", [".git", "..2026_11_22", "lost+found"])
def test_folders_of_tools_are_left_alone(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    (folder / name / "catalog.yaml").write_text("[")

    load_catalog(folder)


def test_link_out_of_the_folder_is_a_fault(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret.yaml"
    (folder / "rules.yaml").rename(outside)
    (folder / "rules.yaml").symlink_to(outside)

    fault = only_fault(folder)

    assert (fault.file, fault.rule) == ("rules.yaml", "link-outside")


def test_linked_folder_out_of_the_folder_is_a_fault(folder: Path, tmp_path: Path) -> None:
    (folder / "cases").rename(tmp_path / "elsewhere")
    (folder / "cases").symlink_to(tmp_path / "elsewhere")

    fault = only_fault(folder)

    assert (fault.file, fault.rule) == ("cases", "link-outside")


def test_neighbour_with_a_longer_name_is_outside(folder: Path) -> None:
    neighbour = folder.with_name(f"{folder.name}-old")
    neighbour.mkdir()
    (folder / "rules.yaml").rename(neighbour / "rules.yaml")
    (folder / "rules.yaml").symlink_to(neighbour / "rules.yaml")

    assert only_fault(folder).rule == "link-outside"


@pytest.mark.parametrize("target", ["nowhere.yaml", "rules.yaml"])
def test_link_to_nothing_or_to_itself_is_a_fault(folder: Path, target: str) -> None:
    (folder / "rules.yaml").unlink()
    (folder / "rules.yaml").symlink_to(target)

    fault = only_fault(folder)

    assert (fault.file, fault.rule) == ("rules.yaml", "unreadable-file")


def test_pipe_is_refused_and_not_waited_for(folder: Path) -> None:
    (folder / "rules.yaml").unlink()
    os.mkfifo(folder / "rules.yaml")

    fault = only_fault(folder)

    assert (fault.file, fault.rule) == ("rules.yaml", "not-a-file")


def test_tiers_as_a_file_is_unlike_a_folder(folder: Path) -> None:
    (folder / "rules.yaml").unlink()
    (folder / "rules.yaml").mkdir()

    fault = only_fault(folder)

    assert (fault.file, fault.rule) == ("rules.yaml", "not-a-file")


def test_size_of_a_file_is_bounded(folder: Path) -> None:
    os.truncate(folder / "rules.yaml", MAX_FILE_BYTES + 1)

    fault = only_fault(folder)

    assert (fault.file, fault.rule) == ("rules.yaml", "file-too-large")


def test_count_of_files_is_bounded(folder: Path) -> None:
    for number in range(MAX_FILES):
        (folder / "cases" / f"c{number}.yaml").write_text(f"- {{prompt: p{number}, tier: none}}\n")

    assert only_fault(folder).rule == "too-many-files"


def test_unreadable_tier_is_not_reported_as_missing_too(folder: Path) -> None:
    (folder / "tiers/budget.yaml").unlink()
    (folder / "tiers/budget.yaml").symlink_to("nowhere")

    assert only_fault(folder).rule == "unreadable-file"


def test_file_that_fails_to_read_is_a_fault(folder: Path) -> None:
    def read(path: Path) -> bytes:
        if path.name == "rules.yaml":
            raise PermissionError(13, "Permission denied")
        return path.read_bytes()

    (fault,) = read_catalog_files(folder, read_file=read).faults

    assert (fault.file, fault.rule) == ("rules.yaml", "unreadable-file")
    assert "Permission denied" in fault.message


def test_name_that_is_not_utf8_is_a_fault_that_can_be_printed(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/tiers/\xff.yaml")).write_text("a: b\n")

    with pytest.raises(CatalogInvalidError) as caught:
        load_catalog(folder)

    str(caught.value).encode()


# What changes while it is read.


def test_files_of_two_moments_are_never_mixed(folder: Path) -> None:
    edits = iter([b"tier: premium\n# second\n", b"tier: premium\n# third\n"])

    def read_then_edit(path: Path) -> bytes:
        content = path.read_bytes()
        if path.name == "premium.yaml" and (edit := next(edits, None)):
            (folder / "tiers/budget.yaml").write_bytes(edit)
            path.write_bytes(edit)
        return content

    files = read_catalog_files(folder, read_file=read_then_edit)

    assert files.content["tiers/budget.yaml"] == files.content["tiers/premium.yaml"]
    assert files.content["tiers/premium.yaml"].endswith(b"# third\n")


def test_file_that_vanishes_is_gone_from_the_next_look(folder: Path) -> None:
    def read_or_vanish(path: Path) -> bytes:
        if path.name == "rules.yaml":
            path.unlink()
        return path.read_bytes()

    files = read_catalog_files(folder, read_file=read_or_vanish)

    assert "rules.yaml" not in files.content
    assert files.faults == ()


def test_file_that_appears_is_read(folder: Path, valid_files: Files) -> None:
    (folder / "rules.yaml").unlink()

    def read_and_add(path: Path) -> bytes:
        if not (folder / "rules.yaml").exists():
            (folder / "rules.yaml").write_text(valid_files["rules.yaml"])
        return path.read_bytes()

    assert "rules.yaml" in read_catalog_files(folder, read_file=read_and_add).content


def test_folder_that_never_rests_is_a_fault(folder: Path) -> None:
    def read_and_edit(path: Path) -> bytes:
        with (folder / "rules.yaml").open("a") as file:
            file.write("# more\n")
        return path.read_bytes()

    files = read_catalog_files(folder, read_file=read_and_edit)

    assert [fault.rule for fault in files.faults] == ["changing-files"]
    assert files.content == {}


# Kubernetes: `x.yaml -> ..data/x.yaml`, `..data -> ..2026_11_22`, swapped by renaming a new link.


def mount(volume: Path, version: str, files: Mapping[str, str]) -> None:
    for name, content in files.items():
        path = volume / f"..{version}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (volume / "..data_tmp").symlink_to(f"..{version}")
    (volume / "..data_tmp").rename(volume / "..data")
    for top in {name.partition("/")[0] for name in files}:
        if not (volume / top).is_symlink():
            (volume / top).symlink_to(f"..data/{top}")


def test_config_map_loads_and_its_swap_is_seen(tmp_path: Path, valid_files: Files) -> None:
    mount(tmp_path, "2026_11_22", valid_files)
    first = load_catalog(tmp_path)
    changed = {**valid_files, "catalog.yaml": valid_files["catalog.yaml"].replace("0.35", "0.5")}
    mount(tmp_path, "2026_11_23", changed)

    second = load_catalog(tmp_path)

    assert (first.threshold, second.threshold) == (0.35, 0.5)


def test_config_map_swapped_while_it_is_read_is_read_again(
    tmp_path: Path, valid_files: Files
) -> None:
    mount(tmp_path, "1", {name: f"# 1 {name}\n" for name in valid_files})
    new = {name: f"# 2 {name}\n" for name in valid_files}

    def read_and_swap(path: Path) -> bytes:
        if path.name == "models.yaml" and not (tmp_path / "..2").exists():
            mount(tmp_path, "2", new)
        return path.read_bytes()

    files = read_catalog_files(tmp_path, read_file=read_and_swap)

    assert files.content == {name: text.encode() for name, text in new.items()}


def test_linked_catalog_folder_swapped_while_it_is_read_is_read_again(
    tmp_path: Path, folder: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "catalog.yaml").write_text("# other\n")
    (tmp_path / "current").symlink_to(folder)

    def read_and_swap(path: Path) -> bytes:
        if path.name == "rules.yaml":
            (tmp_path / "next").symlink_to(other)
            (tmp_path / "next").rename(tmp_path / "current")
        return path.read_bytes()

    files = read_catalog_files(tmp_path / "current", read_file=read_and_swap)

    assert files.content == {"catalog.yaml": b"# other\n"}


def test_content_hash_follows_content_and_not_time(folder: Path) -> None:
    first = read_catalog_files(folder)
    os.utime(folder / "rules.yaml", ns=(1, 1))
    touched = read_catalog_files(folder)
    (folder / "rules.yaml").write_text("override: []\n")
    edited = read_catalog_files(folder)

    assert first.content_hash == touched.content_hash != edited.content_hash


def test_content_hash_tells_faults_apart(folder: Path) -> None:
    before = read_catalog_files(folder).content_hash
    (folder / "other.yaml").write_text("")

    assert read_catalog_files(folder).content_hash != before
