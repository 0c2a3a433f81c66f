"""A condition as it is written: its limits, its tokens, Python's syntax tree of it, and places in it."""

import ast
import io
import keyword
import re
import tokenize

from clarion.errors import ConditionError

LONGEST_SOURCE = 4000
"""Characters of a condition."""

DEEPEST_SOURCE = 50
"""Levels of nesting of a condition's syntax tree."""

_TEXT_TOKEN = re.compile(r"(?s)([A-Za-z]*)('''|\"\"\"|'|\")(.*)\2")
_STRANGE_ESCAPE = re.compile(r"(?s)\\(?:\\|'|\"|[nrt])|(\\.)")
_ANY_TEXT = '""'
_LAYOUT = {tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT}


class Source:
    """The text of one condition."""

    def __init__(self, text: str) -> None:
        self._text = text
        # Inside brackets an expression may go over several lines and a comment ends with its line.
        self._wrapped = f"[{text}\n]"
        self._lines = re.split("\r\n|\r|\n", self._wrapped)

    def tree(self) -> ast.expr:
        """Python's tree of the one expression in the text. ConditionError: it is none, or too big."""
        if len(self._text) > LONGEST_SOURCE:
            raise ConditionError(
                f"the condition has {len(self._text)} characters", expected=f"at most {LONGEST_SOURCE}"
            )
        self._check_tokens()
        expression = self._only_expression(self._parsed())
        self._check_depth(expression)
        return expression

    def error(
        self, message: str, *, at: ast.AST, expected: str | None = None, like: str | None = None
    ) -> ConditionError:
        """What is wrong at a node of the tree, with its place in the text."""
        line = getattr(at, "lineno", 1)
        before = self._lines[line - 1].encode()[: getattr(at, "col_offset", 1)]
        return self._error_at(message, line, len(before.decode()), expected=expected, like=like)

    def _error_at(
        self, message: str, line: int, column: int, *, expected: str | None = None, like: str | None = None
    ) -> ConditionError:
        """The error at a line and a 0-based column of the wrapped text."""
        last = len(self._lines) - 1
        if line > last:
            place = "at the end"
        else:
            character = column if line == 1 else column + 1
            place = f"at character {character}" if last == 1 else f"at line {line}, character {character}"
        return ConditionError(f"{message} ({place})", expected=expected, nearest=like)

    def _parsed(self) -> ast.expr:
        try:
            return ast.parse(self._wrapped, mode="eval").body
        except SyntaxError as exc:
            raise self._syntax_error(exc) from exc
        except ValueError as exc:
            raise ConditionError(f"this is no condition: {exc}") from exc
        except (MemoryError, RecursionError) as exc:
            raise self._too_deep() from exc

    def _syntax_error(self, error: SyntaxError) -> ConditionError:
        line, column = error.lineno or 1, (error.offset or 1) - 1
        if "closed" in error.msg or "match" in error.msg:
            message = "its brackets do not match"  # the parser would name the brackets around the text
            line = line if column > 0 else len(self._lines)
        else:
            message = error.msg
        return self._error_at(f"this is no condition: {message}", line, max(column, 1))

    def _only_expression(self, wrapped: ast.expr) -> ast.expr:
        if not isinstance(wrapped, ast.List):
            raise ConditionError("this is no condition: its brackets do not match")
        if not wrapped.elts:
            raise ConditionError(
                "the condition is empty", expected="a comparison, such as item.plan == 'gold'"
            )
        if len(wrapped.elts) > 1 or self._ends_with_comma(wrapped):
            raise ConditionError("a comma stands between conditions", expected="and, or")
        return wrapped.elts[0]

    def _ends_with_comma(self, wrapped: ast.List) -> bool:
        tokens = [token.string for token in self._tokens() if token.type not in _LAYOUT and token.string]
        return tokens[-2:-1] == [","] and len(wrapped.elts) == 1

    def _check_depth(self, expression: ast.expr) -> None:
        level: list[ast.AST] = [expression]
        for _ in range(DEEPEST_SOURCE):
            level = [child for node in level for child in ast.iter_child_nodes(node)]
            if not level:
                return
        raise self._too_deep()

    def _too_deep(self) -> ConditionError:
        return ConditionError(
            "the condition is nested too deeply",
            expected=f"at most {DEEPEST_SOURCE} levels, or several segments",
        )

    def _tokens(self) -> list[tokenize.TokenInfo]:
        try:
            return list(tokenize.generate_tokens(io.StringIO(self._wrapped).readline))
        except (tokenize.TokenError, SyntaxError):
            return []  # Python's parser says it better

    def _check_tokens(self) -> None:
        """Refuses what the syntax tree no longer shows, and what Python's parser would word unhelpfully."""
        before = ""
        for token in self._tokens():
            if token.type in _LAYOUT:
                continue
            if token.type == tokenize.STRING:
                self._check_text(token, before=before)
            if before == "." and keyword.iskeyword(token.string):
                self._refuse(
                    token, f"{token.string!r} is a word of Python", f'["{token.string}"] without the dot'
                )
            before = token.string if token.type != tokenize.STRING else _ANY_TEXT

    def _check_text(self, token: tokenize.TokenInfo, *, before: str) -> None:
        if before == _ANY_TEXT:
            self._refuse(token, "two texts stand side by side", "a comma between them")
        found = _TEXT_TOKEN.fullmatch(token.string)
        prefix = found[1].lower() if found else ""
        if prefix not in {"", "r"}:
            self._refuse(token, f"a text with {prefix!r} in front is not part of a condition", "a plain text")
        if found and not prefix and any(_STRANGE_ESCAPE.findall(found[3])):
            self._refuse(token, "a backslash in a text needs an r in front of the text", r'r"\d+", for one')

    def _refuse(self, token: tokenize.TokenInfo, message: str, expected: str) -> None:
        raise self._error_at(message, *token.start, expected=expected)
