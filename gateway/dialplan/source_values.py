"""The values of a dialplan file as they are written: names, keys, patterns, texts, each with its schema for editors."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from gateway.dialplan.hours import parse_date_range, parse_time_range
from gateway.dialplan.pattern import parse_caller, parse_number, parse_text
from gateway.dialplan.targets import parse_target
from gateway.located import Section, WrongValue

VERSION = 1
MAX_GREETING_CHARACTERS = 1000
MAX_REASON_CHARACTERS = 100
MAX_SAID_CHARACTERS = 1000
DIGITS = "0123456789*#ABCD"
LIST_MARK = "@"
_NAME = re.compile(r"\w[\w-]{0,63}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_]\w{0,31}", re.ASCII)
_TIMES = "^[0-9]{1,2}:[0-9]{2} *- *[0-9]{1,2}:[0-9]{2}$"
_DATES = r"^([0-9]{4}-[0-9]{2}-[0-9]{2}(\.\.[0-9]{4}-[0-9]{2}-[0-9]{2})?|[A-Z]{2}(-[0-9A-Z]{1,4})?)$"
_REGION = re.compile(r"[A-Z]{2}(?:-[0-9A-Z]{1,4})?")
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,2})?) ?%")
_COUNTS = re.compile(r"([0-9]{1,3})(?: ?- ?([0-9]{1,3}))?")
_DAYS = re.compile(r"([0-9]{1,5})d")
_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")


def _checked(parse: Callable[[str], object]) -> AfterValidator:
    """Text that `parse` takes; kept as text, so that the file's words stay at hand."""

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


def one_or_more(value: object) -> object:
    """A single text as the list of it."""
    return [value] if isinstance(value, str) else value


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise WrongValue(expected="expected letters, digits, - and _, at most 64")
    return text


def is_variable_name(text: str) -> bool:
    """Whether a variable may have this name."""
    return bool(_VARIABLE_NAME.fullmatch(text))


def _variable_name(text: str) -> str:
    if not is_variable_name(text):
        raise WrongValue(expected="expected letters a to z, digits and _, a letter first, at most 32")
    return text


def _version(value: int) -> int:
    if value != VERSION:
        raise WrongValue(f"is {value}, which is not known here", expected=f"expected {VERSION}")
    return value


def _digit(text: str) -> str:
    if len(text) != 1 or text.upper() not in DIGITS:
        raise WrongValue(expected='expected one telephone key: 0 to 9, "*", "#" or A to D')
    return text.upper()


def _digits(text: str) -> str:
    if not text or any(key not in DIGITS for key in text.upper()):
        raise WrongValue(expected='expected telephone keys: 0 to 9, "*", "#" or A to D')
    return text.upper()


def _only_true(value: bool) -> bool:
    if not value:
        raise WrongValue("is false", expected="expected true; leave the key out for the contrary")
    return value


def _status(value: int) -> int:
    if not 400 <= value <= 699:
        raise WrongValue(f"is {value}", expected="expected a SIP status between 400 and 699")
    if value in (401, 407):
        raise WrongValue(f"is {value}, which asks for a password", expected="expected another status, such as 403")
    return value


def reason_phrase(text: str) -> str:
    """A reason phrase. Raises: WrongValue."""
    if not text.isprintable() or len(text) > MAX_REASON_CHARACTERS:
        raise WrongValue(expected=f"expected one line of at most {MAX_REASON_CHARACTERS} characters")
    return text


def _greeting(text: str) -> str:
    if not text.strip() or len(text) > MAX_GREETING_CHARACTERS:
        raise WrongValue("is empty or too long", expected=f"expected 1 to {MAX_GREETING_CHARACTERS} characters")
    return text


def _language(text: str) -> str:
    if not re.fullmatch("[a-z]{2}", text):
        raise WrongValue(expected="expected two letters of ISO 639-1, such as de")
    return text


def _header_name(text: str) -> str:
    # RFC 3261 25.1: token.
    if not re.fullmatch(r"[A-Za-z0-9.!%*_+`'~-]{1,64}", text):
        raise WrongValue(expected="expected the name of a SIP header, such as X-Queue")
    return text


def _share(value: object) -> object:
    """``80%``, as a share."""
    if not isinstance(value, str):
        return value
    if not (match := _SHARE.fullmatch(value)) or not 0 < float(match[1]) <= 100:
        raise WrongValue(expected="expected a share of the budget such as 80%, at most 100%")
    return float(match[1]) / 100


def _part(value: object) -> object:
    """``20%`` of the calls, as a share."""
    if not isinstance(value, str):
        return value
    if not (match := _SHARE.fullmatch(value)) or not 0 < float(match[1]) < 100:
        raise WrongValue(expected="expected a share of the callers such as 20%, below 100%")
    return float(match[1]) / 100


def counts(text: str) -> tuple[int, int]:
    """(least, most) of ``6`` or ``4-8``. Raises: WrongValue."""
    match = _COUNTS.fullmatch(text.strip())
    least, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= least <= most <= 32:
        raise WrongValue(expected="expected how many, such as 6 or 4-8, at most 32")
    return least, most


def days(text: str) -> int | bool:
    """``true``, ``false``, or so many days: ``30d``. Raises: WrongValue."""
    if text.casefold() in ("true", "false"):
        return text.casefold() == "true"
    if not (match := _DAYS.fullmatch(text)) or not int(match[1]):
        raise WrongValue(expected="expected true, false, or a number of days such as 30d")
    return int(match[1])


def is_region(text: str) -> bool:
    """Whether it names public holidays (ISO 3166-1 with a subdivision of ISO 3166-2) and no dates."""
    return bool(_REGION.fullmatch(text.strip()))


def _closed(text: str) -> str:
    if text[:1].isalpha() or not text.strip():
        if not is_region(text):
            raise WrongValue(expected="expected a date, or whose public holidays: DE, or DE-BE for a part of it")
        return text.strip()
    parse_date_range(text)
    return text


def _email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise WrongValue(expected="expected an address such as reception@example.org")
    return text


def _line(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > 200:
        raise WrongValue(expected="expected one line of at most 200 characters")
    return text


def _said(text: str) -> str:
    if not text.strip() or len(text) > MAX_SAID_CHARACTERS:
        raise WrongValue("is empty or too long", expected=f"expected 1 to {MAX_SAID_CHARACTERS} characters")
    return text


def _phrase(text: str) -> str:
    if not any(c.isalnum() for c in text) or len(text) > 100:
        raise WrongValue(expected="expected words, at most 100 characters")
    return text


# An unquoted number is text in these files; an editor's schema has to allow both.
NUMBER_OR_TEXT = {"type": ["string", "number"]}
LIST = Field(min_length=1)

Name = Annotated[
    str, AfterValidator(_name), WithJsonSchema({"type": ["string", "integer"], "pattern": r"^\w[\w-]{0,63}$"})
]
VariableName = Annotated[
    str, AfterValidator(_variable_name), WithJsonSchema({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,31}$"})
]
Version = Annotated[int, AfterValidator(_version), WithJsonSchema({"const": VERSION})]
Status = Annotated[int, AfterValidator(_status), WithJsonSchema({"type": "integer", "minimum": 400, "maximum": 699})]
Greeting = Annotated[str, AfterValidator(_greeting)]
Said = Annotated[str, AfterValidator(_said), WithJsonSchema(NUMBER_OR_TEXT)]
Language = Annotated[str, AfterValidator(_language), WithJsonSchema({"type": "string", "pattern": "^[a-z]{2}$"})]
HeaderName = Annotated[str, AfterValidator(_header_name)]
Digit = Annotated[str, AfterValidator(_digit), WithJsonSchema({"enum": [*DIGITS, *range(10)]})]
Digits = Annotated[str, AfterValidator(_digits), WithJsonSchema({"type": ["string", "integer"]})]
Share = Annotated[
    float, BeforeValidator(_share), WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,3}(\.[0-9]{1,2})? ?%$"})
]
Part = Annotated[
    float, BeforeValidator(_part), WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,2}(\.[0-9]{1,2})? ?%$"})
]
Counts = Annotated[
    str,
    _checked(counts),
    WithJsonSchema({"type": ["string", "integer"], "pattern": r"^[0-9]{1,2}( ?- ?[0-9]{1,2})?$"}),
]
Days = Annotated[str, _checked(days), WithJsonSchema({"type": ["string", "boolean"], "pattern": "^[0-9]{1,5}d$"})]
Usd = Annotated[Decimal, Field(gt=0, le=1_000_000), WithJsonSchema({"type": "number", "exclusiveMinimum": 0})]
OnlyTrue = Annotated[bool, AfterValidator(_only_true), WithJsonSchema({"const": True})]
Number = Annotated[str, _checked(parse_number), WithJsonSchema(NUMBER_OR_TEXT)]
Caller = Annotated[str, _checked(parse_caller), WithJsonSchema(NUMBER_OR_TEXT)]
TextPattern = Annotated[str, _checked(parse_text), WithJsonSchema(NUMBER_OR_TEXT)]
Target = Annotated[str, _checked(parse_target), WithJsonSchema(NUMBER_OR_TEXT)]
TimeRangeText = Annotated[str, _checked(parse_time_range), WithJsonSchema({"type": "string", "pattern": _TIMES})]
ClosedText = Annotated[str, AfterValidator(_closed), WithJsonSchema({"type": "string", "pattern": _DATES})]
Email = Annotated[str, AfterValidator(_email), WithJsonSchema({"type": "string", "format": "email"})]
Line = Annotated[str, AfterValidator(_line)]
Phrase = Annotated[str, AfterValidator(_phrase), WithJsonSchema(NUMBER_OR_TEXT)]
FactText = Annotated[str, WithJsonSchema(NUMBER_OR_TEXT)]

Numbers = Annotated[
    tuple[Number, ...], LIST, BeforeValidator(one_or_more, json_schema_input_type=Number | tuple[Number, ...])
]
Callers = Annotated[
    tuple[Caller, ...], LIST, BeforeValidator(one_or_more, json_schema_input_type=Caller | tuple[Caller, ...])
]
VariableNames = Annotated[
    tuple[VariableName, ...],
    LIST,
    BeforeValidator(one_or_more, json_schema_input_type=VariableName | tuple[VariableName, ...]),
]
Names = Annotated[tuple[Name, ...], LIST, BeforeValidator(one_or_more, json_schema_input_type=Name | tuple[Name, ...])]
TextPatterns = Annotated[
    tuple[TextPattern, ...],
    LIST,
    BeforeValidator(one_or_more, json_schema_input_type=TextPattern | tuple[TextPattern, ...]),
]
TimeRanges = Annotated[
    tuple[TimeRangeText, ...],
    LIST,
    BeforeValidator(one_or_more, json_schema_input_type=TimeRangeText | tuple[TimeRangeText, ...]),
]
Closed = Annotated[
    tuple[ClosedText, ...],
    BeforeValidator(one_or_more, json_schema_input_type=ClosedText | tuple[ClosedText, ...]),
]
Languages = Annotated[
    tuple[Language, ...], LIST, BeforeValidator(one_or_more, json_schema_input_type=Language | tuple[Language, ...])
]
Phrases = Annotated[
    tuple[Phrase, ...], LIST, BeforeValidator(one_or_more, json_schema_input_type=Phrase | tuple[Phrase, ...])
]
Saids = Annotated[tuple[Said, ...], LIST, BeforeValidator(one_or_more, json_schema_input_type=Said | tuple[Said, ...])]
Emails = Annotated[
    tuple[Email, ...], LIST, BeforeValidator(one_or_more, json_schema_input_type=Email | tuple[Email, ...])
]


class OneOf(Section):
    """A table with exactly one of its keys."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    @model_validator(mode="after")
    def _has_exactly_one(self) -> Self:
        keys = [self._key(name) for name in type(self).model_fields if name in self.model_fields_set]
        expected = "expected exactly one of " + ", ".join(self._key(name) for name in type(self).model_fields)
        if len(keys) != 1:
            raise WrongValue(f"has {' and '.join(keys) or 'no key'}", expected=expected)
        return self

    @classmethod
    def _key(cls, name: str) -> str:
        return cls.model_fields[name].alias or name

    @property
    def word(self) -> str:
        """The key that is there."""
        return self._key(next(iter(self.model_fields_set)))
