"""Example contacts: a customer list as messy as real ones, of people who do not exist.

Privacy: a made-up number that belongs to somebody is a person bothered by a rehearsal gone wrong. So every
phone number is from a range that regulators keep free for films and books (GB: Ofcom 07700 900; US, CA:
555-01xx; DE: Bundesnetzagentur; FR: Arcep; AU: ACMA 5550), or, where no such range is known (ES, NL, IN,
BR), from a part of the numbering plan that is not in use: long enough to be possible, never valid. Every
email address is below example.com, .net or .org (RFC 2606).
"""

import csv
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import accumulate, pairwise
from pathlib import Path

from clarion.errors import SettingError

MAX_COUNT = 1_000_000
COLUMNS = (
    "Customer Id",
    "First Name",
    "Last Name",
    "Email",
    "Phone",
    "Country",
    "Time Zone",
    "Language",
    "Plan",
    "Days Left",
    "Consent",
    "Signed Up",
)
INVALID_PHONES = ("unknown", "ask reception", "+999 123 4567", "00", "0123456789012345678", "see notes")
"""No region's number, whatever is done to them."""

_LAST_DAY = date(2025, 12, 31)
_SHARES = {"duplicate": 0.02, "missing": 0.02, "invalid": 0.01}
_PLANS = {"gold": 20, "silver": 30, "basic": 40, "trial": 10}
_STEP = 7_919
"""A prime that divides no power of ten: walking a range in such steps visits each number once."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers that may be used: national digits without trunk prefix, then a counter of `digits` digits."""

    prefix: str
    digits: int
    time_zone: str


@dataclass(frozen=True, kw_only=True)
class Country:
    """Where contacts live, how they are called, and how they write their numbers.

    `trunk` is what is dialled before a national number, `abroad` before an international one; empty where a
    national number is written without, or where the prefix depends on the carrier.
    """

    code: str
    calling_code: str
    weight: int
    language: str
    ranges: tuple[Range, ...]  # all of one size
    groups: tuple[int, ...]
    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    trunk: str = "0"
    abroad: str = "00"


def _ranges(time_zone: str, digits: int, *prefixes: str) -> tuple[Range, ...]:
    return tuple(Range(prefix=prefix, digits=digits, time_zone=time_zone) for prefix in prefixes)


def _words(text: str) -> tuple[str, ...]:
    """Names, separated by commas."""
    return tuple(name.strip() for name in text.split(","))


_ENGLISH_FIRST = _words(
    "Olivia, Noah, Amelia, George, Isla, Harry, Zoë, Oscar, Chloe, Theo, Maya, Sean, Ruby"
)
_ENGLISH_LAST = _words("Taylor, O'Connor, Patel, Smith-Jones, Hughes, MacDonald, Khan, Evans, Walker, Brontë")
_AMERICAN_LAST = _words("Johnson, Nguyen, Garcia, Lee, Washington, D'Angelo, Cohen, Miller, Kim, Brown")

COUNTRIES: tuple[Country, ...] = (
    Country(
        code="GB",
        calling_code="44",
        weight=24,
        language="en-GB",
        ranges=_ranges("Europe/London", 3, "7700900"),
        groups=(4, 3, 3),
        first_names=_ENGLISH_FIRST,
        last_names=_ENGLISH_LAST,
    ),
    Country(
        code="US",
        calling_code="1",
        weight=22,
        language="en-US",
        ranges=_ranges("America/New_York", 2, "21255501", "30555501", "61755501", "40455501")
        + _ranges("America/Chicago", 2, "31255501", "71355501")
        + _ranges("America/Denver", 2, "30355501")
        + _ranges("America/Los_Angeles", 2, "31055501", "41555501", "20655501"),
        groups=(3, 3, 4),
        first_names=_words("Emma, Liam, Ava, José, Sophia, Mason, Mia, Ethan, Grace, Jayden, Luna, Caleb"),
        last_names=_AMERICAN_LAST,
        trunk="",
        abroad="011",
    ),
    Country(
        code="DE",
        calling_code="49",
        weight=12,
        language="de-DE",
        ranges=_ranges("Europe/Berlin", 3, "3023125", "6990009", "4066969", "2214710", "8999998"),
        groups=(2, 4, 4),
        first_names=_words("Jürgen, Anna, Lukas, Käthe, Felix, Mia, Björn, Lena, Günther, Sofie, Jonas, Ute"),
        last_names=_words(
            "Müller, Schäfer, Weiß, Groß, Becker, von der Heide, Öztürk, Köhler, Vogel, Krüger"
        ),
    ),
    Country(
        code="FR",
        calling_code="33",
        weight=9,
        language="fr-FR",
        ranges=_ranges("Europe/Paris", 4, "63998"),
        groups=(1, 2, 2, 2, 2),
        first_names=_words("Léa, Hugo, Chloé, Gaël, Inès, François, Zoé, Loïc, Amélie, Noël, Élodie, Mathis"),
        last_names=_words("Lefèvre, Dubois, Moreau, Garnier, d'Aubigné, Benoît, Nguyen, Faure, Hébert, Roux"),
    ),
    Country(
        code="ES",
        calling_code="34",
        weight=8,
        language="es-ES",
        ranges=_ranges("Europe/Madrid", 7, "49"),
        groups=(3, 3, 3),
        first_names=_words("Lucía, Íñigo, María, Hugo, Martín, Sofía, Ángel, Núria, Álvaro, Pablo, Begoña"),
        last_names=_words("García López, Muñoz, Ibáñez, Peña, Fernández, Vázquez, Puig i Ferrer, Núñez"),
        trunk="",
    ),
    Country(
        code="NL",
        calling_code="31",
        weight=5,
        language="nl-NL",
        ranges=_ranges("Europe/Amsterdam", 7, "60"),
        groups=(1, 4, 4),
        first_names=_words(
            "Sanne, Daan, Femke, Sjoerd, Noëlle, Bram, Lotte, Thijs, Fleur, Ruud, Anouk, Joost"
        ),
        last_names=_words("de Vries, van den Berg, Jansen, 't Hart, Bakker, van Dijk, Smit, IJsselstein"),
    ),
    Country(
        code="IN",
        calling_code="91",
        weight=8,
        language="en-IN",
        ranges=_ranges("Asia/Kolkata", 7, "555"),
        groups=(5, 5),
        first_names=_words("Aditi, Arjun, प्रिया, Rohan, Ananya, Vikram, Meera, Sanjay, Kavya, Imran, Divya"),
        last_names=_words("Sharma, Iyer, Reddy, Khan, Banerjee, Singh, Nair, Desai, Chatterjee, Kaur"),
    ),
    Country(
        code="BR",
        calling_code="55",
        weight=6,
        language="pt-BR",
        ranges=_ranges("America/Sao_Paulo", 7, "2090"),
        groups=(2, 5, 4),
        first_names=_words("João, Letícia, Thiago, Conceição, Otávio, Beatriz, Caio, Luíza, Antônio, Iara"),
        last_names=_words("da Silva, Gonçalves, Araújo, dos Santos, Brandão, Magalhães, Moraes, Assunção"),
        abroad="",
    ),
    Country(
        code="AU",
        calling_code="61",
        weight=4,
        language="en-AU",
        ranges=_ranges("Australia/Sydney", 4, "25550")
        + _ranges("Australia/Melbourne", 4, "35550")
        + _ranges("Australia/Brisbane", 4, "75550")
        + _ranges("Australia/Perth", 4, "85550"),
        groups=(1, 4, 4),
        first_names=_ENGLISH_FIRST,
        last_names=_ENGLISH_LAST,
        abroad="0011",
    ),
    Country(
        code="CA",
        calling_code="1",
        weight=2,
        language="fr-CA",
        ranges=_ranges("America/Toronto", 2, "41655501", "51455501")
        + _ranges("America/Vancouver", 2, "60455501"),
        groups=(3, 3, 4),
        first_names=_words("Océane, Félix, Maëlle, Émile, Charlotte, Xavier, Rosalie, Olivier, Noémie"),
        last_names=_words("Tremblay, Côté, Bélanger, Gagné, Lévesque, MacLeod, Singh, Ouellet, Roy"),
        trunk="",
        abroad="011",
    ),
)


@dataclass(frozen=True, kw_only=True)
class ContactsSummary:
    """What is in the file, counted while it was written: a run over it must come to the same numbers.

    `count` = `sendable` + `duplicates` + `missing_phones` + `invalid_phones`, rows each. A duplicate has the
    phone of an earlier row, written otherwise, and agrees with it in every attribute but the id, the spelling
    of the name and the day of signing up. `plans`, `countries` and `without_consent` count sendable rows.
    """

    path: Path
    count: int
    sendable: int
    duplicates: int
    missing_phones: int
    invalid_phones: int
    without_consent: int
    plans: dict[str, int]
    countries: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Contact:
    """One row, and the country whose numbers it uses."""

    country: Country
    national: str
    """The phone's national digits; empty where the phone is missing or invalid."""
    cells: dict[str, str]


class _Numbers:
    """Hands out each country's numbers, never one of them twice; of a used up country it hands out none."""

    def __init__(self) -> None:
        self._used: Counter[str] = Counter()

    def left(self, country: Country) -> int:
        return sum(10**found.digits for found in country.ranges) - self._used[country.code]

    def take(self, country: Country) -> tuple[str, Range]:
        index = self._used[country.code]
        self._used[country.code] += 1
        # In turn from the ranges, to mix the time zones.
        found = country.ranges[index % len(country.ranges)]
        position = index // len(country.ranges) * _STEP % 10**found.digits
        return f"{found.prefix}{position:0{found.digits}}", found


def _grouped(digits: str, groups: tuple[int, ...], separator: str) -> str:
    ends = [0, *accumulate(groups), len(digits)]
    return separator.join(filter(None, (digits[start:end] for start, end in pairwise(ends))))


def _spellings(country: Country, national: str) -> list[str]:
    """All the ways in which people of this country write one number; each of them means the same number."""
    code, trunk = country.calling_code, country.trunk
    area, rest = national[: country.groups[0]], national[country.groups[0] :]

    def spaced(separator: str) -> str:
        return _grouped(national, country.groups, separator)

    spellings = [
        f"+{code}{national}",
        f"+{code} {spaced(' ')}",
        f"+{code}-{spaced('-')}",
        f"{trunk}{national}",
        f"{trunk}{spaced(' ')}",
        f"{trunk}{spaced('-')}",
        f"{trunk}{spaced('.')}",
        f" {trunk}{spaced(' ')} ",
    ]
    if trunk:
        spellings += [f"+{code} (0){spaced(' ')}", f"({trunk}{area}) {rest}"]
    else:
        spellings.append(f"({area}) {_grouped(rest, country.groups[1:], '-')}")
    if country.abroad:
        spellings += [f"{country.abroad}{code}{national}", f"{country.abroad} {code} {spaced(' ')}"]
    return spellings


def _contact(rng: random.Random, numbers: _Numbers, row: int) -> Contact:
    free = [country for country in COUNTRIES if numbers.left(country)]
    country = rng.choices(free, [found.weight for found in free])[0]
    national, found = numbers.take(country)
    plan = rng.choices(list(_PLANS), list(_PLANS.values()))[0]
    mailbox = f"contact{row}@example.{rng.choice(('com', 'net', 'org'))}"
    cells = {
        "Customer Id": f"C{row:07}",
        "First Name": "" if rng.random() < 0.02 else rng.choice(country.first_names),  # noqa: PLR2004  # a share
        "Last Name": rng.choice(country.last_names),
        "Email": "" if rng.random() < 0.03 else mailbox,  # noqa: PLR2004  # a share
        "Phone": rng.choice(_spellings(country, national)),
        "Country": country.code,
        "Time Zone": found.time_zone,
        "Language": country.language,
        "Plan": plan,
        "Days Left": str(rng.randint(0, 14 if plan == "trial" else 90)),
        "Consent": "no" if rng.random() < 0.04 else "yes",  # noqa: PLR2004  # a share
        "Signed Up": _day(rng),
    }
    return Contact(country=country, national=national, cells=cells)


def _day(rng: random.Random) -> str:
    return (_LAST_DAY - timedelta(days=rng.randrange(1500))).isoformat()


def _with_phone(contact: Contact, phone: str) -> Contact:
    return replace(contact, national="", cells=contact.cells | {"Phone": phone})


def _again(rng: random.Random, contact: Contact, row: int) -> Contact:
    """The same person, entered once more by somebody else."""
    cells = contact.cells
    other = [s for s in _spellings(contact.country, contact.national) if s.strip() != cells["Phone"].strip()]
    respell: Callable[[str], str] = rng.choice((str.upper, str.lower, str))
    changed = {
        "Customer Id": f"C{row:07}",
        "First Name": respell(cells["First Name"]),
        "Last Name": respell(cells["Last Name"]),
        "Phone": rng.choice(other),
        "Signed Up": _day(rng),
    }
    return replace(contact, cells=cells | changed)


def _kinds(rng: random.Random, count: int) -> list[str]:
    """What each row is, in exact shares; the first is sendable, so that a duplicate always finds one."""
    special = [kind for kind, share in _SHARES.items() for _ in range(round(count * share))]
    rest = special + ["sendable"] * (count - 1 - len(special))
    rng.shuffle(rest)
    return ["sendable", *rest]


def _contacts(rng: random.Random, count: int, counts: Counter[str]) -> Iterator[Contact]:
    """The rows in order; adds to `counts` what each of them is."""
    numbers = _Numbers()
    sendable: list[Contact] = []
    for row, kind in enumerate(_kinds(rng, count), start=1):
        counts[kind] += 1
        if kind == "duplicate":
            yield _again(rng, rng.choice(sendable), row)
            continue
        contact = _contact(rng, numbers, row)
        if kind == "sendable":
            sendable.append(contact)
            cells = contact.cells
            counts.update(f"{name} {cells[name]}" for name in ("Plan", "Country", "Consent"))
            yield contact
        else:
            yield _with_phone(contact, "" if kind == "missing" else rng.choice(INVALID_PHONES))


def write_contacts(path: Path, *, count: int = 1000, seed: int = 7) -> ContactsSummary:
    """Write a CSV file (UTF-8, header `COLUMNS`) of example contacts; the same seed writes the same file.

    Of the rows 2 % are duplicates, 2 % have no phone and 1 % an invalid one; some first names and
    emails are missing, 4 % gave no consent. `Country` is an ISO 3166 code, `Days Left` whole days (trials at
    most 14), `Signed Up` an ISO date.

    Args:
        path: The file; overwritten.
        count: Rows, 1 to a million.
        seed: Of the random numbers.

    Raises:
        SettingError: The count is out of bounds.
    """
    if not 1 <= count <= MAX_COUNT:
        raise SettingError(f"{count} contacts", where="count", expected=f"1 to {MAX_COUNT}")
    counts: Counter[str] = Counter()
    rng = random.Random(seed)  # noqa: S311  # examples must be repeatable
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(contact.cells for contact in _contacts(rng, count, counts))
    return ContactsSummary(
        path=path,
        count=count,
        sendable=counts["sendable"],
        duplicates=counts["duplicate"],
        missing_phones=counts["missing"],
        invalid_phones=counts["invalid"],
        without_consent=counts["Consent no"],
        plans={plan: counts[f"Plan {plan}"] for plan in _PLANS},
        countries={country.code: counts[f"Country {country.code}"] for country in COUNTRIES},
    )
