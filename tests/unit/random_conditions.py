"""Random conditions as trees, their source, and random frames to go with them."""

import datetime as dt
from random import Random
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import note

NOW = dt.datetime(2026, 1, 15, 23, 30, tzinfo=dt.UTC)
TODAY = dt.date(2026, 1, 15)
JOB = {"plan": "gold", "n": 7, "none": None}

# How these texts read as dates is written down here, so that the interpreter needs no parser of dates.
ISO_DATES = {
    "2026-01-31": dt.date(2026, 1, 31),
    " 2026-01-31\u2003": dt.date(2026, 1, 31),
    "2026-01-15T23:59:59.5Z": dt.date(2026, 1, 15),
    "2024-02-29 09:00": dt.date(2024, 2, 29),
    "2026-01-15T00:00:00+05:30": dt.date(2026, 1, 15),
    "0001-01-01": dt.date(1, 1, 1),
    "9999-12-31": dt.date(9999, 12, 31),
    "2026-02-29": None,
    "2026-01-31T24:00": None,
    "2026-1-31": None,
    "20260131": None,
    "2026-01-31x": None,
    "0000-01-01": None,
}
LOCAL_DATES = {
    "31/12/2025": dt.date(2025, 12, 31),
    " 1/2/2026 ": dt.date(2026, 2, 1),
    "31/2/2026": None,
    "1/2/26": None,
}
NUMBERS = [
    *("30", " 30 ", "3.5", "-2", "1e3", "+5", ".5", "5.", "007", "-0", "0.1", "1e400", "1E-400", "-.5e-3"),
    *("9007199254740993", "9007199254740992", "9007199254740992.0", "-9007199254740993", "1e16"),
    *("10000000000000001", "\u00a07\t", "nan", "inf", "-Infinity", "NaN(1)", "1_000", "0x10", "1,000", "+-5"),
    *("- 2", "1e", "e5", ".", "٣", "1 0", "1d5", "1" * 309, "0" * 400 + "1", " " * 500 + "5"),
    *("17976931348623157" + "0" * 292, "17976931348623158" + "0" * 292, "17976931348623159" + "0" * 292),
]
WORDS = [
    "",
    "gold",
    "Gold",
    " gold ",
    "ß",
    "İ",
    "ΑΣ",
    "é",
    "e\u0301",
    "a\nb",
    "😀",
    "o",
    "old",
    "a,b",
    "007",
    "7",
]
FLAGS = ["true", "YES", " No ", "0", "1", "off", "on", "F", "maybe", "TRUE\u2003"]
PATTERNS = ["[a-z]+", "0[0-9]*", ".*o.*", "(G|g)?old", "[^0]*", "(?i)GOLD"]

SMALL = [-15, -3, -1, 0, 1, 2, 3, 5, 7, 16, 30]
LONG = [2**53 - 1, 2**53, 2**53 + 1, 2**53 + 2, -(2**53) - 1, 2**62 + 1]
FRACTIONS = [0.0, -0.0, 0.5, 1.0, 1.5, 2.5, 3.5, -2.5, 30.0, 2.0**53, 1e16, 1e22, 1e300, 1e-7]
MISSING = [None, float("nan"), pd.NA, pd.NaT]
DAYS = [TODAY, dt.date(2026, 1, 31), dt.date(2025, 12, 31), dt.date(1, 1, 1)]
MOMENTS = [dt.datetime(day.year, day.month, day.day, 9, 30) for day in DAYS]  # noqa: DTZ001  as in files
HUGE = [10**25, 10**25 + 1, 10**400, float("inf"), float("nan")]
NESTED = [
    [],
    ["gold"],
    ["old", 5, None],
    [7, "007", 2.5],
    [["o"]],
    [{"a": "7"}],
    {"a": 7},
    {"a": ["gold"], "b": 0.5},
]
ANYTHING = [
    *WORDS,
    *NUMBERS,
    *FLAGS,
    *SMALL,
    *LONG,
    *FRACTIONS,
    *HUGE,
    True,
    False,
    *MISSING,
    *DAYS,
    *MOMENTS,
]

# What each column of the frames holds: values, then the dtypes that such values come with.
TEXT_DTYPES = ["str", "str", pd.StringDtype("python", na_value=np.nan), "string", "category", object]
TEXT_COLUMNS = {
    "word": WORDS,
    "number": [*NUMBERS, *map(str, SMALL), *map(repr, FRACTIONS)],
    "id": [str(value) for value in LONG],
    "day": list(ISO_DATES),
    "local": list(LOCAL_DATES),
    "flag": FLAGS,
    "a b": [*WORDS, *NUMBERS, *FLAGS, *ISO_DATES, *LOCAL_DATES],
}
TYPED_COLUMNS: dict[str, list[tuple[list[Any], Any]]] = {
    "word": [([*WORDS, *ANYTHING], object)],
    "number": [
        (SMALL, "int64"),
        ([*SMALL, None], "Int64"),
        ([*FRACTIONS, None], "float64"),
        ([*SMALL, *FRACTIONS, *LONG, *HUGE], object),
    ],
    "id": [(LONG, "int64"), ([abs(value) for value in LONG], "uint64"), ([*LONG, *map(str, LONG)], object)],
    "day": [([*MOMENTS, None], "datetime64[us]"), ([*DAYS, *MOMENTS, *ISO_DATES, None], object)],
    "local": [([*LOCAL_DATES, *ANYTHING], object)],
    "flag": [([True, False], "bool"), ([True, False, None], "boolean"), ([0, 1, 2], "int64")],
    "a b": [(ANYTHING, object)],
    "nested": [([*NESTED, *NESTED, *ANYTHING], object), (NESTED, object)],
}
COLUMNS = {
    name: [([*TEXT_COLUMNS[name], None], dtype) for dtype in TEXT_DTYPES if name in TEXT_COLUMNS] + typed * 2
    for name, typed in TYPED_COLUMNS.items()
}


LETTERS = "aA zßİ\N{LATIN SMALL LETTER DOTLESS I}Σς019.-+eE_\u00a0\u2003\x1cé😀\n"


def frame_with(names: set[str], random: Random) -> pd.DataFrame:
    """Up to 30 rows of most of these columns, of the dtypes that files and databases bring."""
    length = random.randint(1, 30)
    series = {"other": pd.Series([0] * length)}
    for name in sorted(names):
        values, dtype = random.choice(COLUMNS[name])
        if name == "a b" and dtype != "category":
            values = values + ["".join(random.choices(LETTERS, k=random.randint(1, 5))) for _ in range(9)]
        if random.random() < 0.95:
            series[name] = pd.Series(random.choices(values, k=length), dtype=dtype)
    return pd.DataFrame(series).set_axis(range(10, 10 + length), axis="index")


# The grammar that conditions are grown from. A condition is a tree of tuples, an operator's name and its
# operands; in a production a symbol stands for a tree of its own productions, a list for one of its members.


class Symbol(str):
    """A name of the grammar below."""

    __slots__ = ()


TEXTUAL, NUMERIC, DATED, TRUTHFUL = map(Symbol, ("textual", "numeric", "dated", "truthful"))
TEXT_VALUE, NUMBER_VALUE, DATE_VALUE, TRUTH = map(Symbol, ("text", "number", "date", "truth"))
SIGNS = ["==", "!=", "<", "<=", ">", ">="]
NEGATED = [True, False]


def item(*names: str) -> list[Any]:
    """Productions for columns of the item."""
    return [("attribute", "item", (name,)) for name in names]


ATTRIBUTE = [
    *item(*COLUMNS),
    *(("attribute", "item", ("nested", *path)) for path in (("a",), ("b",), (0,), (-1,), (1, "a"), ("a", 0))),
    *(("attribute", "job", (name,)) for name in JOB),
]
WORD = [*item("word", "word", "a b", "flag"), ATTRIBUTE, ("coalesce", ATTRIBUTE, ATTRIBUTE)]
NUMBER = [*item("number", "number", "number", "id", "id"), ATTRIBUTE, ("coalesce", ATTRIBUTE, ATTRIBUTE)]
DAY = [*item("day", "day", "day"), ATTRIBUTE]
FLAG = [*item("flag", "flag", "number"), ATTRIBUTE]
LISTED = [*item("nested", "nested", "word"), ATTRIBUTE]
TEXT_LITERAL = [("literal", text) for text in [*WORDS, *WORDS, *NUMBERS, *FLAGS, *ISO_DATES, *LOCAL_DATES]]
NUMBER_LITERAL = [("literal", number) for number in [*SMALL, *SMALL, *LONG, *FRACTIONS, 10**25]]
DATE_LITERAL = [("date", ("literal", text)) for text, day in ISO_DATES.items() if day]

# At the greatest depth a symbol grows by its first production.
GRAMMAR: dict[Symbol, list[Any]] = {
    TEXTUAL: [WORD, WORD, NUMBER, TEXT_VALUE],
    NUMERIC: [NUMBER, NUMBER, WORD, NUMBER_VALUE],
    DATED: [DAY, DAY, DATE_VALUE],
    TRUTHFUL: [FLAG, TRUTH, TRUTH],
    TEXT_VALUE: [
        TEXT_LITERAL,
        TEXT_LITERAL,
        (["lower", "upper", "strip"], TEXTUAL),
        ("text", [NUMBER, DAY, NUMBER_VALUE, DATE_VALUE, TRUTH]),
        ("coalesce", TEXT_VALUE, TEXT_LITERAL),
    ],
    NUMBER_VALUE: [
        NUMBER_LITERAL,
        NUMBER_LITERAL,
        ("calculate", ["+", "-", "*", "/", "%"], NUMERIC, NUMERIC),
        ("number", [NUMBER, ("lower", NUMBER), ("strip", WORD)]),
        (["abs", "round", "negative"], NUMERIC),
        (["min", "max"], NUMERIC, NUMERIC),
        (["days_until", "days_since"], DATED),
        ("length", [WORD, LISTED, ("split", WORD, [",", "o"])]),
    ],
    DATE_VALUE: [
        DATE_LITERAL,
        ("today",),
        ("date", DAY),
        ("local_date", [*item("local", "local"), ATTRIBUTE]),
    ],
    TRUTH: [
        [("literal", True), ("literal", False)],
        ("compare", "text", SIGNS, TEXT_VALUE, TEXTUAL),
        ("compare", "text", SIGNS, TEXTUAL, TEXT_VALUE),
        ("compare", "number", SIGNS, NUMBER_VALUE, NUMERIC),
        ("compare", "number", SIGNS, NUMERIC, NUMBER_VALUE),
        ("compare", "number", SIGNS, NUMERIC, NUMBER_VALUE),
        ("compare", "date", SIGNS, DATE_VALUE, DATED),
        ("compare", "date", SIGNS, DATED, DATE_VALUE),
        ("compare", "any", SIGNS, NUMBER, [NUMBER, WORD, DAY]),
        ("compare", "any", SIGNS, [WORD, DAY], [WORD, NUMBER, DAY]),
        ("compare", "truth", ["==", "!="], TRUTHFUL, TRUTH),
        ("chain", SIGNS, SIGNS, NUMBER_VALUE, NUMBER, NUMBER_VALUE),
        ("member", "text", TEXTUAL, (TEXT_LITERAL, TEXT_LITERAL, TEXT_LITERAL), NEGATED),
        ("member", "number", NUMERIC, (NUMBER_LITERAL, NUMBER_LITERAL, NUMBER_LITERAL), NEGATED),
        ("member", "date", DATED, (DATE_LITERAL, DATE_LITERAL), NEGATED),
        ("contain", "text", TEXT_VALUE, [LISTED, ("lower", TEXTUAL)], NEGATED),
        ("contain", "number", NUMBER_VALUE, [LISTED, NUMBER], NEGATED),
        ("contain", "any", ATTRIBUTE, LISTED, NEGATED),
        ("contains", [LISTED, WORD], TEXTUAL),
        (["startswith", "endswith"], TEXTUAL, TEXTUAL),
        ("matches", TEXTUAL, PATTERNS),
        (["isnull", "notnull"], [ATTRIBUTE, NUMBER_VALUE, DATE_VALUE]),
        ("and", TRUTHFUL, TRUTHFUL),
        ("or", TRUTHFUL, TRUTHFUL),
        ("not", TRUTHFUL),
    ],
}


def grown(part: Any, random: Random, *, depth: int) -> Any:
    """A random tree for a part of a production."""
    if isinstance(part, Symbol):
        productions = GRAMMAR[part]
        chosen = productions[0] if depth <= 0 else random.choice(productions)
        return grown(chosen, random, depth=depth - 1)
    if isinstance(part, list):
        return grown(random.choice(part), random, depth=depth)
    if isinstance(part, tuple) and part[0] not in ("attribute", "literal"):
        return tuple(grown(operand, random, depth=depth) for operand in part)
    return part


def names_in(tree: Any) -> set[str]:
    """The columns that a tree names."""
    if not isinstance(tree, tuple):
        return set()
    if tree[:2] == ("attribute", "item"):
        return {tree[2][0]}
    return set().union(*map(names_in, tree))


def case_of(random: Random) -> tuple[Any, pd.DataFrame]:
    """A condition's tree, and a frame for it; Hypothesis tells both when a test fails."""
    tree = grown(random.choice(GRAMMAR[TRUTH][1:]), random, depth=random.randint(1, 6))
    frame = frame_with(names_in(tree), random)
    note(f"{render(tree)}\n{rows_of(frame)}\n{frame.dtypes}")
    return tree, frame


def step(part: str | int) -> str:
    """How a name or a position inside an attribute is written."""
    return f".{part}" if isinstance(part, str) and part.isidentifier() else f"[{quoted(part)}]"


def quoted(value: Any) -> str:
    """A literal of the language: its escapes are few, and characters stand for themselves."""
    if not isinstance(value, str):
        return repr(value)
    for raw, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
        value = value.replace(raw, escape)
    return f'"{value}"'


def render(tree: Any) -> str:  # noqa: C901, PLR0911, PLR0912  a case for each construct
    """The condition's source."""
    match tree:
        case ("literal", value):
            return quoted(value)
        case ("attribute", scope, (name, *path)):
            return scope + "".join(step(part) for part in (name, *path))
        case ("compare", _, sign, left, right):
            return f"({render(left)} {sign} {render(right)})"
        case ("chain", sign, other, *sides):
            return "({0} {3} {1} {4} {2})".format(*map(render, sides), sign, other)
        case ("member", _, value, listed, negated):
            return f"({render(value)} {'not in' if negated else 'in'} [{', '.join(map(render, listed))}])"
        case ("contain", _, value, container, negated):
            return f"({render(value)} {'not in' if negated else 'in'} {render(container)})"
        case ("calculate", sign, left, right):
            return f"({render(left)} {sign} {render(right)})"
        case ("and" | "or" as word, left, right):
            return f"({render(left)} {word} {render(right)})"
        case ("not", operand):
            return f"(not {render(operand)})"
        case ("negative", operand):
            return f"(-{render(operand)})"
        case ("local_date", operand):
            return f'date({render(operand)}, "%d/%m/%Y")'
        case ("split" | "matches" as name, operand, written):
            return f'{name}({render(operand)}, r"{written}")'
        case (name, *operands):
            return f"{name}({', '.join(map(render, operands))})"
    raise AssertionError(tree)


# The interpreter: one row, no types but Python's, None for missing.


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as mappings of Python values."""
    columns = {name: frame[name].astype(object).tolist() for name in frame.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
