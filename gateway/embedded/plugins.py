"""Engines by name: those that are here, and those that other packages bring by an entry point."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from typing import TypeVar

from gateway.errors import ResourceError

Factory = TypeVar("Factory", bound=Callable[..., object])


def find_engine(name: str, known: Mapping[str, Factory], *, group: str, kind: str) -> Factory:
    """The factory of an engine.

    Raises:
        ResourceError: nobody has it, or the package that has it cannot be imported.
    """
    if name in known:
        return known[name]
    others = {entry.name: entry for entry in importlib.metadata.entry_points(group=group)}
    if name not in others:
        offered = ", ".join(sorted({*known, *others}))
        raise ResourceError(f"there is no {kind} {name!r}: expected one of {offered}")
    try:
        factory: Factory = others[name].load()
    except Exception as error:
        raise ResourceError(f"the {kind} {name!r} cannot be used: {type(error).__name__}: {error}") from error
    return factory


def need(package: str, *, kind: str, install: str) -> None:
    """Check that a package is there, without importing it.

    Raises:
        ResourceError: it is not; the message says how to install it.
    """
    try:
        importlib.metadata.version(install)
    except importlib.metadata.PackageNotFoundError as error:
        raise ResourceError(f"the {kind} needs the package {package}: pip install {install}") from error
