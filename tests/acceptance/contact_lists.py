"""A customer list as people export it: phone numbers in every spelling, blanks, people in it twice."""

import csv
import random
from pathlib import Path

COLUMNS = (
    "Index",
    "Customer Id",
    "First Name",
    "Last Name",
    "Company",
    "City",
    "Country",
    "Phone 1",
    "Phone 2",
    "Email",
    "Subscription Date",
    "Website",
)
SPELLINGS = (
    "{area}-555-{line}",
    "({area})555-{line}",
    "{area}.555.{line}",
    "{area}555{line}",
    "+1-{area}-555-{line}",
    "001-{area}-555-{line}",
    "{area}-555-{line}x{extension}",
    "({area})555-{line}x{extension}",
    "{area}.555.{line}x{extension}",
    "+1-{area}-555-{line}x{extension}",
)
UNSENDABLE = ("", "", "ask reception", "555", "00", "+999 123 4567")
FIRST_NAMES = ("Alice", "Bob", "Zoë", "Łukasz", "", "O'Neil", "Mary Ann")
COMPANIES = ("Reese Ltd", "Stout, Reed and Cameron", 'The "Best"', "")


def write_customers(path: Path, *, count: int) -> list[str]:
    """Writes a list of customers in the United States; no number is anybody's.

    Every 20th number cannot be sent to, every 25th row repeats the number of the row before.

    Returns:
        The recipients who are to get a message, once each, in E.164.
    """
    chance = random.Random(1)
    recipients: list[str] = []
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for number in range(1, count + 1):
            if number % 20 == 0:
                phone = chance.choice(UNSENDABLE)
            else:
                if number % 25 != 1 or not recipients:
                    recipients.append(f"+1{201 + len(recipients) // 100}55501{len(recipients) % 100:02d}")
                phone = _spelled(recipients[-1], chance)
            writer.writerow(_customer(number, phone, chance))
    return recipients


def _spelled(recipient: str, chance: random.Random) -> str:
    """The number as one of many people would write it."""
    parts = {"area": recipient[2:5], "line": recipient[8:], "extension": chance.randrange(100, 99_999)}
    return chance.choice(SPELLINGS).format(**parts)


def _customer(number: int, phone: str, chance: random.Random) -> dict[str, object]:
    return {
        "Index": number,
        "Customer Id": f"{number:05d}x{chance.randrange(16**5):05x}",
        "First Name": chance.choice(FIRST_NAMES),
        "Last Name": chance.choice(("Esparza", "Fisher", "")),
        "Company": chance.choice(COMPANIES),
        "City": "North Madelineville",
        "Country": chance.choice(("Haiti", "Pitcairn Islands", "")),
        "Phone 1": phone,
        "Phone 2": chance.choice(("", "+1-465-555-0143")),
        "Email": f"customer{number}@example.com",
        "Subscription Date": f"2023-{chance.randrange(1, 13):02d}-{chance.randrange(1, 29):02d}",
        "Website": "https://www.example.com/",
    }
