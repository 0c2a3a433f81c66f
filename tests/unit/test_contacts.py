import csv
import zoneinfo
from collections import Counter
from pathlib import Path

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.contacts import COLUMNS, COUNTRIES, INVALID_PHONES, Country, _spellings, write_contacts
from clarion.errors import SettingError

NO_FICTION_RANGE = {"ES", "NL", "IN", "BR"}


def rows_of(path: Path) -> list[dict[str, str]]:
    """The file's rows, read by nobody but Python."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def normalised(row: dict[str, str]) -> str | None:
    """The phone as E.164, or None: an independent count of what the summary claims."""
    try:
        number = phonenumbers.parse(row["Phone"], row["Country"])
    except phonenumbers.NumberParseException:
        return None
    possible = phonenumbers.is_possible_number(number)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) if possible else None


@pytest.mark.parametrize("count", [1, 26, 1000, 20_000])
def test_contacts_summary_agrees_with_an_independent_count(tmp_path: Path, count: int):
    """Sendable, duplicate, missing and invalid phones are what phonenumbers finds in the file."""
    summary = write_contacts(tmp_path / "contacts.csv", count=count)
    rows = rows_of(summary.path)
    first_of: dict[str, dict[str, str]] = {}
    for row in rows:
        if (phone := normalised(row)) is not None:
            first_of.setdefault(phone, row)
    reachable = sum(normalised(row) is not None for row in rows)
    assert summary.count == len(rows) == count
    assert summary.missing_phones == sum(not row["Phone"] for row in rows)
    assert summary.invalid_phones == count - reachable - summary.missing_phones
    assert summary.sendable == len(first_of)
    assert summary.duplicates == reachable - len(first_of)
    found = first_of.values()
    assert Counter(row["Plan"] for row in found) == Counter(summary.plans)
    assert Counter(row["Country"] for row in found) == Counter(summary.countries)
    assert summary.without_consent == sum(row["Consent"] == "no" for row in found)


def test_contacts_thousand_hold_every_kind_of_mess(tmp_path: Path):
    """The default file has exact shares of trouble, blanks where people leave them, and every country."""
    summary = write_contacts(tmp_path / "contacts.csv")
    rows = rows_of(summary.path)
    assert (summary.sendable, summary.duplicates) == (950, 20)
    assert (summary.missing_phones, summary.invalid_phones) == (20, 10)
    assert all(summary.countries.values())
    assert all(summary.plans.values())
    assert tuple(rows[0]) == COLUMNS
    assert 0 < sum(not row["First Name"] for row in rows) < 60
    assert 0 < sum(not row["Email"] for row in rows) < 80
    assert any(not row["First Name"].isascii() for row in rows)
    assert len({row["Customer Id"] for row in rows}) == 1000
    assert all(int(row["Days Left"]) <= 14 for row in rows if row["Plan"] == "trial")
    assert {row["Email"].partition("@")[2] for row in rows} == {
        "",
        "example.com",
        "example.net",
        "example.org",
    }


def test_contacts_duplicate_is_written_otherwise_and_agrees(tmp_path: Path):
    """A duplicate never repeats the text of the phone, and would be treated as its original is."""
    seen: dict[str, list[dict[str, str]]] = {}
    for row in rows_of(write_contacts(tmp_path / "contacts.csv", count=5000).path):
        if phone := normalised(row):
            seen.setdefault(phone, []).append(row)
    pairs = [(group[0], later) for group in seen.values() for later in group[1:]]
    assert len(pairs) == 100
    for first, later in pairs:
        assert first["Phone"] != later["Phone"]
        same = ("Email", "Country", "Time Zone", "Language", "Plan", "Days Left", "Consent")
        assert [first[name] for name in same] == [later[name] for name in same]


def test_contacts_same_seed_writes_the_same_file(tmp_path: Path):
    """The seed alone decides the file."""
    paths = [tmp_path / name for name in ("a.csv", "b.csv", "c.csv")]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        write_contacts(path, count=200, seed=seed)
    first, again, other = (path.read_bytes() for path in paths)
    assert first == again
    assert first != other


@pytest.mark.parametrize("count", [0, -1, 1_000_001])
def test_contacts_count_out_of_bounds_is_refused(tmp_path: Path, count: int):
    """A file of no contacts, or of more than a list may have, is a mistake."""
    with pytest.raises(SettingError, match="expected 1 to 1000000"):
        write_contacts(tmp_path / "contacts.csv", count=count)
    assert not (tmp_path / "contacts.csv").exists()


@pytest.mark.parametrize("country", COUNTRIES, ids=lambda country: country.code)
@given(data=st.data())
def test_contacts_every_spelling_is_the_same_possible_number(country: Country, data: st.DataObject):
    """However a number is written, it is one possible number of its country, of a range nobody owns."""
    found = data.draw(st.sampled_from(country.ranges))
    counter = data.draw(st.integers(0, 10**found.digits - 1))
    national = f"{found.prefix}{counter:0{found.digits}}"
    spellings = _spellings(country, national)
    assert {normalised({"Phone": text, "Country": country.code}) for text in spellings} == {
        f"+{country.calling_code}{national}"
    }
    if country.code in NO_FICTION_RANGE:
        assert not phonenumbers.is_valid_number(phonenumbers.parse(spellings[0]))


@pytest.mark.parametrize("phone", INVALID_PHONES)
def test_contacts_invalid_phone_is_invalid_everywhere(phone: str):
    """No country reads a number into an invalid phone."""
    assert [normalised({"Phone": phone, "Country": country.code}) for country in COUNTRIES] == [None] * len(
        COUNTRIES
    )


def test_contacts_time_zones_exist():
    """Every range's time zone is one that Python knows."""
    assert {found.time_zone for country in COUNTRIES for found in country.ranges} <= (
        zoneinfo.available_timezones()
    )


def test_contacts_ranges_of_a_country_are_of_one_size():
    """Numbers are handed out in turn over a country's ranges, which needs ranges of one size."""
    assert all(len({found.digits for found in country.ranges}) == 1 for country in COUNTRIES)
