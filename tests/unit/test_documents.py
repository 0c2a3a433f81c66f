"""YAML and JSON files: values keep their spelling, and what is no data is one clear line."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion import documents
from clarion.documents import read_document, read_text
from clarion.errors import JobError
from clarion.models.base import SourceFloat, SourceInt


def read(folder: Path, content: str | bytes, name: str = "job.yaml") -> Any:
    """What a file with this content holds."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_document(path)


def refusal(folder: Path, content: str | bytes, name: str = "job.yaml") -> str:
    """Why the file is refused, its folder left out; always one line."""
    with pytest.raises(JobError) as caught:
        read(folder, content, name)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{folder}{os.sep}", "")


@pytest.mark.parametrize(
    "text",
    ["20:00", "NO", "yes", "on", "2026-12-25", "2026-12-25T09:00:00Z", "0x1F", "0o17", "1_000", ".inf"],
)
def test_yaml_scalars_of_older_versions_are_text(tmp_path: Path, text: str):
    """Times, dates, the Norwegian `NO` and numbers of other bases are the text they are."""
    found = read(tmp_path, f"value: {text}")["value"]
    assert (type(found), found) == (str, text)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("0049", SourceInt, 49),
        ("+447700900123", SourceInt, 447700900123),
        ("-7", SourceInt, -7),
        ("1.10", SourceFloat, 1.1),
        (".5", SourceFloat, 0.5),
        ("1e3", SourceFloat, 1000.0),
    ],
)
def test_yaml_numbers_remember_their_spelling(tmp_path: Path, text: str, kind: type, value: float):
    """A number is one for those who want a number, and has its text for those who want text."""
    found = read(tmp_path, f"value: {text}")["value"]
    assert (type(found), found, found.text) == (kind, value, text)


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("False", False), ("null", None), ("~", None), ("", None)]
)
def test_yaml_has_truth_and_null(tmp_path: Path, text: str, value: object):
    """The words of YAML 1.2's core schema are no texts."""
    assert read(tmp_path, f"value: {text}")["value"] is value


def test_yaml_keys_are_text(tmp_path: Path):
    """A key is what stands there, whatever it looks like; also in what is merged in."""
    assert read(tmp_path, "0049: a\ntrue: b\n~: c\n1.10: d\n<<: {20: e}") == {
        "0049": "a",
        "true": "b",
        "~": "c",
        "1.10": "d",
        "20": "e",
    }


def test_yaml_references_and_merges_are_followed(tmp_path: Path):
    """An anchor can be named again, and merged below a mapping's own keys."""
    content = "base: &base {tps: 5, channel: sms}\none: *base\ntwo: {<<: *base, tps: 7}"
    found = read(tmp_path, content)
    assert found["one"] == {"tps": 5, "channel": "sms"}
    assert found["two"] == {"tps": 7, "channel": "sms"}


def bomb(pattern: str, *, levels: int) -> str:
    """Lines that each refer to the line before nine times."""
    lines = ["a0: &a0 {x: 1}"]
    for level in range(1, levels):
        references = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} {pattern.format(references)}")
    return "\n".join(lines)


@pytest.mark.parametrize("pattern", ["[{}]", "{{<<: [{}]}}"], ids=["lists", "merges"])
def test_yaml_of_endless_references_is_refused(tmp_path: Path, pattern: str):
    """A billion values written in ten lines never become a billion values."""
    told = refusal(tmp_path, bomb(pattern, levels=12))
    assert told.endswith(f"the references (*) repeat more than {documents.MAX_REPEATED_VALUES} values")
    assert read(tmp_path, bomb(pattern, levels=3))["a0"] == {"x": 1}


def test_yaml_that_refers_to_itself_is_refused(tmp_path: Path):
    """A list within itself has no end."""
    assert "the references (*) repeat" in refusal(tmp_path, "a: &a [*a]")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("name: a\nx: 1\nname: b\n", "job.yaml:3:1: the key 'name' stands here twice"),
        ("x: {a: 1, a: 2}", "job.yaml:1:11: the key 'a' stands here twice"),
        ("<<: {a: 1, a: 2}", "job.yaml:1:12: the key 'a' stands here twice"),
        ("? [a]\n: b", "job.yaml:1:3: a key must be text"),
        (
            "x: !!python/object/apply:os.system [ls]",
            "job.yaml:1:4: the tag '!!python/object/apply:os.system' is not allowed",
        ),
        ("x: !!timestamp abc", "job.yaml:1:4: the tag '!!timestamp' is not allowed"),
        ("x: !!set {a}", "job.yaml:1:4: the tag '!!set' is not allowed"),
        ("x: !secret a", "job.yaml:1:4: the tag '!secret' is not allowed"),
        ("x: !!int abc", "job.yaml:1:4: 'abc' is no int"),
        ("x: !!bool maybe", "job.yaml:1:4: 'maybe' is no bool"),
        ("x: !!map a", "job.yaml:1:4: this is no mapping"),
        ("x: *nobody", "job.yaml:1:4: found undefined alias 'nobody'; expected YAML"),
        ("a: 1\n---\nb: 2", "found another document; expected YAML"),
        ("\tname: x", "found character '\\t' that cannot start any token; expected YAML"),
        ("name: 'x", "found unexpected end of stream; expected YAML"),
        ("a: b: c", "mapping values are not allowed here; expected YAML"),
        ('a: 1\nname: "\0"', "job.yaml:2: the character #x0000 is not allowed; expected YAML"),
        ("x: " + "9" * 5000, "is no int"),
        ("x: " + "[" * 1000, "job.yaml: is nested too deeply"),
    ],
    ids=lambda value: value[:20].replace("\n", " ").replace("\0", "NUL"),
)
def test_yaml_that_is_no_data_is_refused_with_its_line(tmp_path: Path, content: str, told: str):
    """Each mistake is one line with file, line and column, and no traceback."""
    assert told in refusal(tmp_path, content)


def test_yaml_says_in_one_line_where_a_merge_goes_wrong(tmp_path: Path):
    """Only mappings can be merged."""
    assert refusal(tmp_path, "<<: 5").startswith("job.yaml:1:5: expected a mapping")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"a": 1, "a": 2}', "job.json: the key 'a' stands twice"),
        ('{"a": 1,\n,}', "job.json:2:1: Expecting property name enclosed in double quotes; expected JSON"),
        ("", "job.json:1:1: Expecting value; expected JSON"),
        ("[" * 100_000, "job.json: is nested too deeply"),
        ("9" * 5000, "job.json: Exceeds the limit"),
    ],
    ids=lambda value: value[:20],
)
def test_json_that_is_no_data_is_refused(tmp_path: Path, content: str, told: str):
    """Each mistake is one line, and no traceback."""
    assert refusal(tmp_path, content, "job.json").startswith(told)


@pytest.mark.parametrize("name", ["job.yaml", "job.json"])
def test_byte_order_mark_is_no_content(tmp_path: Path, name: str):
    """What Windows editors put before a file is not part of it."""
    assert read(tmp_path, b'\xef\xbb\xbf{"name": "x"}', name) == {"name": "x"}


def test_text_of_another_encoding_is_refused_with_its_line(tmp_path: Path):
    """A job file is UTF-8; what else it may be is not guessed."""
    told = refusal(tmp_path, "a: 1\nb: café".encode("latin-1"))
    assert told == "file: cannot read job.yaml: line 2 is no UTF-8; expected a UTF-8 text file"


def test_large_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A list taken for a job file does not fill the memory."""
    monkeypatch.setattr(documents, "MAX_FILE_BYTES", 10)
    told = refusal(tmp_path, "name: " + "x" * 20)
    assert told == "file: job.yaml is 26 bytes long; expected at most 10 bytes"


def test_missing_file_names_the_nearest(tmp_path: Path):
    """A typing error in the file's name is told."""
    (tmp_path / "renewals.yaml").touch()
    with pytest.raises(JobError, match=r"no file 'renewal.yml' in .* \(did you mean 'renewals.yaml'\?\)"):
        read_document(tmp_path / "renewal.yml")


@pytest.mark.parametrize("name", ["", "no/such/folder/job.yaml", "x" * 5000, "a\0b"])
def test_path_that_is_no_file_is_one_line(tmp_path: Path, name: str):
    """A folder, a missing folder and a path that no system takes are no tracebacks."""
    with pytest.raises(JobError) as caught:
        read_text(tmp_path / name, where="file")
    assert "\n" not in str(caught.value)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc_", max_size=4), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(value=st.dictionaries(st.text("abc_", max_size=4), JSON_VALUES, max_size=4))
def test_json_reads_the_same_as_yaml(tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]):
    """JSON is YAML: a file of it is read to equal values under both names."""
    folder = tmp_path_factory.getbasetemp()
    text = json.dumps(value)
    assert read(folder, text, "twin.json") == value
    assert read(folder, text, "twin.yaml") == value
