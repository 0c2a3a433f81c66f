"""`clarion list` and `clarion suppress`, as a person types them."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cli.asking import user
from cli.main import main
from tests.integration.ledger_databases import SqliteFiles


class Told(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)


Run = Callable[..., Told]


@pytest.fixture
def clarion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sqlite: SqliteFiles
) -> Run:
    """Runs a command on a ledger of its own, in a folder of its own."""
    monkeypatch.setenv("CLARION_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CLARION_DATABASE_URL", sqlite.migrated())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Told:
        monkeypatch.setattr(sys, "argv", ["clarion", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        code = ended.value.code
        return Told(code if isinstance(code, int) else 0, printed.out, printed.err)

    return run


PEOPLE = "Customer Id,Name,Phone\n7,Ann,07700900001\n8,Bob,+447700900002\n9,Cid,\n"


def test_list_goes_in_and_out_again(clarion: Run, tmp_path: Path):
    """Created, imported, shown, exported and imported once more: the same items."""
    (tmp_path / "people.csv").write_text(PEOPLE)
    made = clarion("list", "create", "vips", "--key", "Customer Id", "--tag", "sales", "--json")
    assert (made.json["name"], made.json["tags"], made.json["items_count"]) == ("vips", ["sales"], 0)
    told = clarion("list", "import", "vips", "people.csv", "--json").json
    assert told == {
        "inserted": 3, "updated": 0, "deleted": 0, "items_count": 3, "bad_rows": 0, "bad_row_examples": [],
    }  # fmt: skip
    for name in ("a.csv", "a.json", "a.jsonl", "a.parquet"):
        assert f"3 items in {name}" in clarion("list", "export", "vips", "--output", name).err
        again = clarion("list", "import", "vips", name, "--replace")
        assert again.out == "vips: 0 inserted, 3 updated, 0 deleted; 3 items\n"
    assert clarion("list", "export", "vips").out.replace("\r\n", "\n") == PEOPLE
    assert [item["Name"] for item in clarion("list", "items", "vips", "--after", "7", "--json").json] == [
        "Bob",
        "Cid",
    ]
    assert "2 of 3 items" in clarion("list", "items", "vips", "--limit", "2").err
    shown = clarion("list", "show", "vips", "--json").json
    assert [change["change"] for change in shown["changes"]] == ["import"] * 5 + ["create"]
    assert {change["who"] for change in shown["changes"]} == {user()}
    assert shown["changes"][0]["reason"] == "import of a.parquet"
    assert [each["name"] for each in clarion("list", "ls", "--json").json] == ["vips"]


def test_list_loses_items_only_when_somebody_is_sure(clarion: Run, tmp_path: Path):
    """Without a terminal nobody can be asked: --yes says it."""
    (tmp_path / "people.csv").write_text(PEOPLE)
    clarion("list", "create", "vips", "--key", "Customer Id")
    clarion("list", "import", "vips", "people.csv")
    missing = clarion("list", "remove", "vips", "7", "99")
    assert (missing.code, missing.err) == (2, "clarion: KEY: '99' is not on the list 'vips'\n")
    assert clarion("list", "remove", "vips", "7", "--json").json == {"deleted": 1, "items_count": 2}
    for command in ("clear", "delete"):
        refused = clarion("list", command, "vips")
        assert (refused.code, "--yes: is missing" in refused.err) == (2, True)
    cleared = clarion("list", "clear", "vips", "--yes", "--who", "Ann", "--why", "a new season", "--json")
    assert cleared.json == {"deleted": 2}
    change = clarion("list", "show", "vips", "--json").json["changes"][0]
    assert (change["who"], change["reason"], change["deleted"]) == ("Ann", "a new season", 2)
    assert clarion("list", "delete", "vips", "--yes").out == "Deleted the list vips with 0 items.\n"
    assert clarion("list", "ls").err.startswith("There are no lists.")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("create", "vips", "--key", "x"), "there is a list 'vips'"),
        (("create", "x" * 256, "--key", "x"), "LIST: is not valid; expected at most 255 characters"),
        (
            ("create", "a", "--key", "x", "--tag", "x" * 16),
            "--tag: is not valid; expected at most 15 characters",
        ),
        (
            ("create", "a", "--key", "x", *["--tag", "x"] * 11),
            "--tag: is not valid; expected at most 10 tags",
        ),
        (("create", "a", "--key", "x", "--who", " "), "--who: is empty"),
        (
            ("import", "vip", "people.csv"),
            "there is no managed list 'vip'; expected one of vips (did you mean",
        ),
        (("import", "vips", "peple.csv"), "(did you mean 'people.csv'?)"),
        (("import", "vips", "people.csv", "--sheet", "A"), "sheet goes with xlsx, not with csv"),
        (("import", "vips", "people.csv"), "has no attribute 'id'"),
        (("export", "vips", "--output", "x.txt"), "--output: x.txt tells no format"),
        (("items", "nobody"), "there is no managed list 'nobody'"),
    ],
)
def test_mistakes_with_lists_are_told(clarion: Run, tmp_path: Path, arguments: tuple[str, ...], told: str):
    """In one line, with exit code 2."""
    (tmp_path / "people.csv").write_text(PEOPLE)
    clarion("list", "create", "vips", "--key", "id")
    outcome = clarion("list", *arguments)
    assert outcome.code == 2
    assert told in outcome.err
    assert "Traceback" not in outcome.err


def test_suppression_goes_in_and_out_again(clarion: Run, tmp_path: Path):
    """Added, listed, checked, exported, removed and imported again, with scopes and reasons."""
    added = clarion(
        "suppress", "add", "+44 7700 900001", "Ann@Example.com", "--why", "phone", "--json"
    )  # fmt: skip
    assert added.json == {"added": 2, "items_skipped": 0}
    clarion("suppress", "add", "07700900002", "--region", "United Kingdom", "--channel", "sms")
    listed = clarion("suppress", "list", "--json").json
    assert [(row["address"], row["scope"], row["reason"]) for row in listed] == [
        ("447700900001", "", "phone"),
        ("447700900002", "channel:sms", "by hand"),
        ("ann@example.com", "", "phone"),
    ]
    assert "1 of 1 suppressions" in clarion("suppress", "list", "--channel", "sms").err
    assert "3 suppressions in s.csv" in clarion("suppress", "export", "--output", "s.csv").err
    removed = clarion("suppress", "remove", "447700900001", "ann@example.com", "--why", "came back", "--json")
    assert removed.json == {"removed": 2}
    clarion("suppress", "remove", "+447700900002", "--why", "came back", "--channel", "sms")
    told = clarion("suppress", "check", "+447700900001", "--json").json
    assert (told["address"], told["suppressed"]) == ("447700900001", [])
    assert [(row["change"], row["reason"], row["who"]) for row in told["history"]] == [
        ("remove", "came back", user()), ("add", "phone", user()),
    ]  # fmt: skip
    assert "is not suppressed" in clarion("suppress", "check", "+447700900001").out
    assert clarion("suppress", "import", "s.csv", "--json").json["added"] == 3
    again = clarion("suppress", "list", "--json").json
    assert [(row["scope"], row["reason"]) for row in again] == [
        (row["scope"], row["reason"]) for row in listed
    ]
    assert "from channel sms: by hand" in clarion("suppress", "check", "+447700900002").out


def test_suppressions_are_imported_from_any_list(clarion: Run, tmp_path: Path):
    """Local numbers with their country; a row that says nothing stops it all, or is left out."""
    (tmp_path / "people.csv").write_text(PEOPLE)
    asked = ("suppress", "import", "people.csv", "--attribute", "Phone", "--region", "GB", "--job", "news")
    refused = clarion(*asked)
    assert refused.code == 2
    assert "people.csv: item 3: there is no address; what cannot be read cannot be suppressed" in refused.err
    assert clarion("suppress", "list", "--json").json == []
    told = clarion(*asked, "--on-bad-row", "skip", "--json")
    assert "There is no run of a job 'news' so far." in told.err
    assert (told.json["rows"], told.json["added"], told.json["bad_rows"], told.json["items_skipped"]) == (
        2,
        2,
        1,
        0,
    )
    rows = clarion("suppress", "list", "--json").json
    assert [(row["address"], row["scope"], row["reason"]) for row in rows] == [
        ("447700900001", "job:news", "import of people.csv"),
        ("447700900002", "job:news", "import of people.csv"),
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("add", " "), "ADDRESS ' ': there is no address"),
        (("add", "x", "--channel", "sms", "--job", "a"), "a suppression is of one channel or of one job"),
        (("add", "123", "--region", "GB"), "ADDRESS '123': the phone number"),
        (("remove", "+447700900009", "--why", "x"), "+447700900009 is not suppressed from everything"),
        (("remove", "+447700900001", "--why", "x"), "expected --channel sms"),
        (("remove", "+447700900001"), "--why is missing"),
        (
            ("import", "people.csv"),
            "has no attribute that holds addresses; expected --attribute, one of Customer Id",
        ),
        (("import", "people.csv", "--attribute", "phone"), "has no attribute 'phone'"),
        (("import", "scopes.csv"), "'sms' is no scope"),
    ],
)
def test_mistakes_with_suppressions_are_told(
    clarion: Run, tmp_path: Path, arguments: tuple[str, ...], told: str
):
    """In one line, with exit code 2; nothing is half done."""
    (tmp_path / "people.csv").write_text(PEOPLE)
    (tmp_path / "scopes.csv").write_text("address,scope\n+447700900003,\n+447700900004,sms\n")
    clarion("suppress", "add", "+447700900001", "--channel", "sms")
    outcome = clarion("suppress", *arguments)
    assert outcome.code == 2
    assert told in outcome.err
    assert "Traceback" not in outcome.err
    assert len(clarion("suppress", "list", "--json").json) == 1


def test_number_without_its_country_is_told(clarion: Run):
    """It is suppressed as it is, and would never meet the number that a job writes to."""
    told = clarion("suppress", "add", "07700900001")
    assert told.code == 0
    assert "has no country code" in told.err
