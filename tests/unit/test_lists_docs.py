"""The page on lists says what the models say."""

import re
from pathlib import Path

import pytest
import yaml

from clarion.lists import csv_files, report
from clarion.models.lists import COMPRESSION_EXTENSIONS, FORMAT_BY_EXTENSION, FileList, ItemsList, ManagedList

PAGE = (Path(__file__).parents[2] / "docs" / "lists.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("model", [FileList, ItemsList, ManagedList])
def test_page_has_every_option_with_its_description(model: type[FileList | ItemsList | ManagedList]):
    """Each field stands in the table of its kind of list, in the model's own words."""
    word = next(iter(model.model_fields))
    section = PAGE.split(f"A list with `{word}`:")[1].split("\nA list with")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (.+) \|$", section.split("\n## ")[0], re.MULTILINE))
    assert rows == {name: field.description for name, field in model.model_fields.items()}
    assert all(description.endswith(".") for description in rows.values())


def test_page_has_every_extension():
    """Formats and compressions are told by extensions that the page lists."""
    told = re.findall(r"`(\.\w+)`", PAGE)
    assert set(told) == {*FORMAT_BY_EXTENSION, *COMPRESSION_EXTENSIONS}


def test_page_examples_are_valid():
    """Every list in an example is one that the models take."""
    sources = [
        source
        for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
        for source in yaml.safe_load(block)
    ]
    assert len(sources) == 7
    for source in sources:
        kinds = {"items": ItemsList, "list": ManagedList}
        next((kinds[word] for word in kinds if word in source), FileList).model_validate(source)


def test_page_names_the_numbers_of_the_code():
    """The sample and the reported rows are what the page says."""
    assert f"first {csv_files.DETECT_CHARACTERS // 1024} KiB" in PAGE
    assert report.EXAMPLES == 10
    assert "the first ten" in PAGE
