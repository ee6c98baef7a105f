"""As much CQL as the service is asked: clauses; AND, OR, NOT from left to right; parentheses; sortBy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

Values = Mapping[str, tuple[str, ...]]

RELATIONS = ("==", ">=", "<=", "<>", "=", "<", ">", "any", "all", "adj")
_TOKEN = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|(==|>=|<=|<>|[=<>()/])|([^\s"()=<>/]+))')


class SyntaxProblem(Exception):
    """The query is no CQL; the text is what the service would say."""


@dataclass(frozen=True, slots=True)
class Clause:
    index: str
    relation: str
    value: str


@dataclass(frozen=True, slots=True)
class Both:
    """Two parts and what joins them: and, or, not."""

    operator: str
    left: Part
    right: Part


Part = Clause | Both


def parse(query: str) -> Part:
    """Raises SyntaxProblem when the query is none."""
    return _Parser(query).parsed()


class _Parser:
    def __init__(self, query: str) -> None:
        self._tokens = list(_tokens(query))
        self._at = 0

    def parsed(self) -> Part:
        part = self._joined()
        if self._word() == "sortby":
            self._at = len(self._tokens)
        if self._at < len(self._tokens):
            raise SyntaxProblem(
                f"mismatched input '{self._tokens[self._at]}' expecting AND, OR, NOT or the end"
            )
        return part

    def _joined(self) -> Part:
        part = self._single()
        while (operator := self._word()) in ("and", "or", "not"):
            self._at += 1
            part = Both(operator, part, self._single())
        return part

    def _single(self) -> Part:
        if self._word() == "(":
            self._at += 1
            part = self._joined()
            self._take(")")
            return part
        index, relation, value = self._next(), self._next().lower(), self._next()
        if relation not in RELATIONS:
            raise SyntaxProblem(f"mismatched input '{relation}' expecting a relation")
        for each in (index, value):
            if each in RELATIONS or each in "()":
                raise SyntaxProblem(f"mismatched input '{each}' expecting a term")
        return Clause(index, relation, _unquoted(value))

    def _word(self) -> str | None:
        return self._tokens[self._at].lower() if self._at < len(self._tokens) else None

    def _next(self) -> str:
        if self._at == len(self._tokens):
            raise SyntaxProblem("mismatched input '<EOF>' expecting a term")
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, wanted: str) -> None:
        if (found := self._next()) != wanted:
            raise SyntaxProblem(f"mismatched input '{found}' expecting '{wanted}'")


def _tokens(query: str) -> Iterator[str]:
    at, query = 0, query.rstrip()
    while at < len(query):
        found = _TOKEN.match(query, at)
        if found is None:
            raise SyntaxProblem(f"token recognition error at: '{query[at:].strip()[:20]}'")
        yield found.group(found.lastindex or 0)
        at = found.end()


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


# -- meaning -----------------------------------------------------------------------------------------------


def indexes(part: Part) -> set[str]:
    """Every index a query names."""
    return {part.index} if isinstance(part, Clause) else indexes(part.left) | indexes(part.right)


def matches(part: Part, values: Values) -> bool:
    """Whether a publication with these values per index is meant."""
    if isinstance(part, Clause):
        return part.index == "cql.allRecords" or _RELATIONS[part.relation](
            values.get(part.index, ()), part.value.lower()
        )
    left = matches(part.left, values)
    if part.operator == "or":
        return left or matches(part.right, values)
    return left and matches(part.right, values) == (part.operator == "and")


def bounds(part: Part, index: str) -> tuple[str, str]:
    """The least and the greatest value of an index that can be in the answer; "" and "~" where it is open."""
    if isinstance(part, Clause):
        return _clause_bounds(part) if part.index == index else ("", "~")
    if part.operator == "not":
        return bounds(part.left, index)
    left, right = bounds(part.left, index), bounds(part.right, index)
    if part.operator == "or":
        return min(left[0], right[0]), max(left[1], right[1])
    return max(left[0], right[0]), min(left[1], right[1])


def _clause_bounds(clause: Clause) -> tuple[str, str]:
    if clause.relation in ("==", "="):
        return clause.value, clause.value
    if clause.relation in (">=", ">"):
        return clause.value, "~"
    return ("", clause.value) if clause.relation in ("<=", "<") else ("", "~")


def words(text: str) -> list[str]:
    return re.findall(r"[\w.]+", text.lower())


def _has_phrase(value: str, phrase: str) -> bool:
    inside, wanted = words(value), words(phrase)
    return any(inside[at : at + len(wanted)] == wanted for at in range(len(inside))) if wanted else False


_RELATIONS: dict[str, Callable[[tuple[str, ...], str], bool]] = {
    "==": lambda values, wanted: any(value.lower() == wanted for value in values),
    "=": lambda values, wanted: any(_has_phrase(value, wanted) for value in values),
    "adj": lambda values, wanted: any(_has_phrase(value, wanted) for value in values),
    "any": lambda values, wanted: any(set(words(value)) & set(words(wanted)) for value in values),
    "all": lambda values, wanted: any(set(words(value)) >= set(words(wanted)) for value in values),
    "<>": lambda values, wanted: all(value.lower() != wanted for value in values),
    "<": lambda values, wanted: any(value.lower() < wanted for value in values),
    ">": lambda values, wanted: any(value.lower() > wanted for value in values),
    "<=": lambda values, wanted: any(value.lower() <= wanted for value in values),
    ">=": lambda values, wanted: any(value.lower() >= wanted for value in values),
}
