"""Random conditions over random frames, held to a plain interpreter that shares no code with the package."""

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from math import isfinite
from random import Random
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, note, settings
from hypothesis import strategies as st

from clarion.conditions import Condition, parse

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


def value_of(value: Any) -> Any:
    """The value, or None for whatever counts as missing."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float) and not isfinite(value):
        return None
    if isinstance(value, int) and abs(value) > int(1.7976931348623157e308):
        return None
    return value


def as_text(value: Any) -> str | None:
    """How a value reads as text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value == int(value):
        return (
            format(Decimal(int(value)), "f").replace("-0", "0")
            if value == 0
            else format(Decimal(int(value)), "f")
        )
    if isinstance(value, str | int | float):
        return str(value)
    return value.isoformat() if isinstance(value, dt.date) else None


def as_number(value: Any) -> Any:
    """How a value reads as a number; Decimal says which texts are numbers."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if not isinstance(value, str):
        return value
    while value and value[0].isspace():
        value = value[1:]
    while value and value[-1].isspace():
        value = value[:-1]
    if len(value) > 400 or not set(value) <= set("0123456789+-.eE"):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return value_of(float(number) if set(value) & set(".eE") else int(number))


def as_truth(value: Any) -> bool | None:
    """How a value reads as true or false."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return {0: False, 1: True}.get(value)
    word = value.strip().lower() if isinstance(value, str) else ""
    yes, no = ("true", "t", "yes", "y", "on", "1"), ("false", "f", "no", "n", "off", "0")
    return True if word in yes else False if word in no else None


def as_date(value: Any) -> dt.date | None:
    """How a value reads as a date; texts are looked up, not parsed."""
    if isinstance(value, dt.datetime):
        return dt.date(value.year, value.month, value.day)
    return ISO_DATES.get(value) if isinstance(value, str) else value if isinstance(value, dt.date) else None


AS = {"text": as_text, "number": as_number, "truth": as_truth, "date": as_date}


def related(sign: str, left: Any, right: Any) -> bool:
    """A comparison of two values of one kind; numbers are compared as fractions, exactly."""
    if left is None or right is None:
        return False
    if isinstance(left, int | float) and not isinstance(left, bool):
        left, right = Fraction(left), Fraction(right)
    equal, less = left == right, sign not in {"==", "!="} and left < right
    return {
        "==": equal,
        "!=": not equal,
        "<": less,
        "<=": less or equal,
        ">": not less and not equal,
        ">=": not less,
    }[sign]


def compared(kind: str, sign: str, left: Any, right: Any) -> bool:
    """A comparison of two values that are read as a kind first."""
    if kind == "any":
        kind = "text" if as_number(left) is None or as_number(right) is None else "number"
    return related(sign, AS[kind](left), AS[kind](right))


def contained(kind: str, value: Any, container: Any, *, negated: bool) -> bool:
    """Membership in a list from the data, or in a text."""
    if kind != "any":
        value = AS[kind](value)
    if as_text(value) is None or container is None:
        return False
    if isinstance(container, list):
        found = any(compared(kind, "==", value, value_of(element)) for element in container)
    elif kind == "number" or as_text(container) is None:
        return False
    else:
        found = (as_text(value) or "") in (as_text(container) or "")
    return found != negated


def calculated(sign: str, left: Any, right: Any) -> float | None:
    """Arithmetic of doubles."""
    if left is None or right is None or (sign in "/%" and right == 0):
        return None
    left, right = float(left), float(right)
    doubles: dict[str, Callable[[], float]] = {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "/": lambda: left / right,
        "%": lambda: left % right,
    }
    result = doubles[sign]()
    return result if isfinite(result) else None


def local_date(value: Any) -> dt.date | None:
    """How a text reads as a date of the format %d/%m/%Y."""
    return LOCAL_DATES.get(value) if isinstance(value, str) else None


def looked_up(scopes: Any, scope: str, path: Any) -> Any:
    """What lies at a path in the scopes."""
    value = scopes[scope]
    for part in path:
        if isinstance(part, str):
            value = value.get(part) if isinstance(value, dict) else None
        else:
            value = value[part] if isinstance(value, list) and -len(value) <= part < len(value) else None
    return value_of(value)


def interpret(tree: Any, scopes: Any) -> Any:  # noqa: C901, PLR0911, PLR0912  a case for each construct
    """What an expression yields for one row."""

    def run(operand: Any, kind: str | None = None) -> Any:
        value = interpret(operand, scopes)
        return value if kind is None else AS[kind](value)

    match tree:
        case ("literal", value):
            return value
        case ("attribute", scope, path):
            return looked_up(scopes, scope, path)
        case ("compare", kind, sign, left, right):
            return compared(kind, sign, run(left), run(right))
        case ("chain", sign, other, left, middle, right):
            return compared("number", sign, run(left), run(middle)) and compared(
                "number", other, run(middle), run(right)
            )
        case ("member", kind, value, listed, negated):
            value = run(value, kind)
            found = any(related("==", value, AS[kind](run(literal))) for literal in listed)
            return value is not None and found != negated
        case ("contain", kind, value, container, negated):
            return contained(kind, run(value), run(container), negated=negated)
        case ("contains", container, part):
            return contained("text", run(part), run(container), negated=False)
        case ("calculate", sign, left, right):
            return calculated(sign, run(left, "number"), run(right, "number"))
        case ("and", left, right):
            return run(left, "truth") is True and run(right, "truth") is True
        case ("or", left, right):
            return run(left, "truth") is True or run(right, "truth") is True
        case ("not", operand):
            return run(operand, "truth") is not True
        case ("isnull", operand):
            return run(operand) is None
        case ("notnull", operand):
            return run(operand) is not None
        case ("coalesce", first, second):
            return run(second) if run(first) is None else run(first)
        case ("today",):
            return TODAY
        case ("date" | "text" | "number" as kind, operand):
            return run(operand, kind)
        case ("local_date", operand):
            return local_date(run(operand))
        case ("days_until" | "days_since" as name, operand):
            day = run(operand, "date")
            return None if day is None else (day - TODAY).days * (1 if name == "days_until" else -1)
        case ("length", operand):
            value = run(operand)
            counted = value if isinstance(value, list | dict) else as_text(value)
            return None if counted is None else len(counted)
        case ("split", operand, separator):
            text = run(operand, "text")
            return None if text is None else text.split(separator)
        case ("lower" | "upper" | "strip" as name, operand):
            text = run(operand, "text")
            return (
                None
                if text is None
                else {"lower": str.lower, "upper": str.upper, "strip": str.strip}[name](text)
            )
        case ("startswith" | "endswith" as name, operand, part):
            text, part = run(operand, "text"), run(part, "text")
            if text is None or part is None:
                return False
            return (
                text[: len(part)] == part
                if name == "startswith"
                else text[len(text) - len(part) :] == part and len(part) <= len(text)
            )
        case ("matches", operand, pattern):
            text = run(operand, "text")
            return text is not None and re.fullmatch(pattern, text) is not None
        case ("negative", ("literal", value)):
            return -value
        case ("negative", operand):
            return calculated("-", 0, run(operand, "number"))
        case ("abs" | "round" as name, operand):
            value = run(operand, "number")
            return None if value is None else abs(value) if name == "abs" else round(value)
        case ("min" | "max" as name, *operands):
            values = [run(operand, "number") for operand in operands]
            return None if None in values else sorted(values)[0 if name == "min" else -1]
    raise AssertionError(tree)


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as mappings of Python values."""
    columns = {name: frame[name].astype(object).tolist() for name in frame.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def matches(condition: Condition, frame: pd.DataFrame) -> list[bool]:
    """The verdicts over a frame."""
    return condition.matches({"item": frame, "job": JOB}, now=NOW).tolist()


RANDOMS = st.randoms(use_true_random=True)


@settings(max_examples=1500, deadline=None)
@given(random=RANDOMS)
def test_conditions_mean_what_a_plain_interpreter_says(random: Random):
    """Over a frame and row by row, a condition says what the interpreter says."""
    tree, frame = case_of(random)
    condition = parse(render(tree), scopes=["item", "job"])
    rows = [{"item": row, "job": JOB} for row in rows_of(frame)]
    expected = [as_truth(interpret(tree, row)) is True for row in rows]

    assert [condition.holds(row, now=NOW) for row in rows] == expected
    assert matches(condition, frame) == expected


@settings(max_examples=200, deadline=None)
@given(random=RANDOMS)
def test_conditions_judge_each_row_by_itself(random: Random):
    """Neither the chunks of a frame, nor the order of its rows, nor its dtypes change a verdict."""
    tree, frame = case_of(random)
    condition = parse(render(tree), scopes=["item", "job"])
    verdicts = matches(condition, frame)
    cut = random.randint(0, len(frame))
    order = random.sample(range(len(frame)), k=len(frame))

    assert matches(condition, frame.iloc[:cut]) + matches(condition, frame.iloc[cut:]) == verdicts
    assert matches(condition, frame.iloc[order]) == [verdicts[row] for row in order]
    assert matches(condition, frame.astype(object)) == verdicts
    assert [matches(condition, pd.DataFrame([row])) for row in rows_of(frame)] == [[one] for one in verdicts]
