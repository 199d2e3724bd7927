"""YAML files whose every value remembers its place, so that an operator's mistake is shown where it stands.

Why not ``yaml.safe_load``: YAML 1.1 turns ``0049`` into 39, ``+49301`` into 49301, ``no`` into false and ``22:30`` into
1350. Here every plain scalar stays text until its field's type asks for something else (pydantic converts), and only
fields of type `JsonValue` resolve theirs, by the core schema of YAML 1.2 (10.3.2). Nothing written means null; so do
``~`` and ``null`` without quotes.

::

    file -> load_yaml -> Document -> validate(Model, document) -> Model
                           └ locate(path), problem(path, ...): for checks that come after the types

A file's problems are reported together and in its order: syntax (one, where reading stopped), duplicate keys, tags,
unknown keys with the nearest known word, wrong types, missing keys. Size, depth and the expansion of aliases are
bounded. The environment is read by `Substitution` alone, for those who ask.
"""

from gateway.located.checking import (
    Examined,
    JsonValue,
    Seconds,
    Section,
    core_schema,
    examine,
    hint,
    in_order,
    validate,
)
from gateway.located.nodes import Comment, Document, Items, Key, Node, Place, Scalar, Table, WrongValue
from gateway.located.reading import YamlLimits, load_yaml, read_text
from gateway.located.substitution import Substitution
from gateway.located.syntax import place_behind

__all__ = [
    "Comment",
    "Document",
    "Examined",
    "Items",
    "JsonValue",
    "Key",
    "Node",
    "Place",
    "Scalar",
    "Seconds",
    "Section",
    "Substitution",
    "Table",
    "WrongValue",
    "YamlLimits",
    "core_schema",
    "examine",
    "hint",
    "in_order",
    "load_yaml",
    "place_behind",
    "read_text",
    "validate",
]
