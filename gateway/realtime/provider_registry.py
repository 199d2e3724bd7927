"""Who provides sessions: our own adapters, and those of other packages.

A name is looked up in this order, and what it leads to is imported when it is first asked for:

1. what was registered in this process (`register_provider`), our own among it;
2. the entry points of group ``gateway.realtime_providers`` of every package that is installed (the packaging
   specification's entry points): name = provider, value = a factory of sessions, ``SessionOptions -> RealtimeSession``.

Two packages with one name are refused rather than chosen between. What is wrong with a package of others is told with
its name, as `ProviderRefused`: it must cost the sessions that want it, and no others.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, TypeAlias

from gateway.errors import ProviderError, ProviderRefused, shown
from gateway.realtime.options import SessionOptions

if TYPE_CHECKING:
    from gateway.realtime.session import RealtimeSession

ENTRY_POINTS = "gateway.realtime_providers"

SessionFactory: TypeAlias = "Callable[[SessionOptions], RealtimeSession]"

_factories: dict[str, SessionFactory | str] = {}
_found: dict[str, SessionFactory] = {}
"""By entry points. Looking for them reads the disk, which no call should wait for twice."""


def register_provider(name: str, factory: SessionFactory | str) -> None:
    """Make sessions of provider `name` by `factory`, or by what ``module:attribute`` names, imported when it is wanted.

    A later registration takes the place of an earlier one.
    """
    _factories[name] = factory


def providers() -> tuple[str, ...]:
    """The names of all that are registered or installed, sorted."""
    return tuple(sorted({*_factories, *entry_points(group=ENTRY_POINTS).names}))


def factory_of(name: str) -> SessionFactory:
    """What makes sessions of provider `name`.

    Raises:
        ProviderRefused: nobody has that name, or who has it cannot be imported.
    """
    factory = _factories.get(name) or _found.get(name)
    if isinstance(factory, str):
        module, _, attribute = factory.partition(":")
        try:
            factory = _factories[name] = getattr(import_module(module), attribute)
        except ImportError as error:
            raise ProviderRefused(f"realtime provider {name} is not installed: {error}", code="provider") from error
    if factory is None:
        factory = _found[name] = _load(_entry_point(name))
    return factory


def open_session(options: SessionOptions) -> RealtimeSession:
    """A session of the provider that `options` name, not yet connected.

    Raises:
        ProviderRefused: nobody has that name, or the provider cannot do what is asked.
    """
    factory = factory_of(options.provider)
    if options.provider not in _found:
        return factory(options)
    try:
        return factory(options)
    except ProviderError:
        raise
    except Exception as error:  # whatever it is, it is not ours, and must not end more than this session
        raise _refusal(_entry_point(options.provider), "makes no session", error) from error


def _entry_point(name: str) -> EntryPoint:
    found = list(entry_points(group=ENTRY_POINTS, name=name))
    if not found:
        known = ", ".join(providers()) or "none"
        raise ProviderRefused(f"no realtime provider is called {shown(name)} (registered: {known})", code="provider")
    if len({(entry.value, _package(entry)) for entry in found}) > 1:
        owners = " and ".join(sorted(_package(entry) for entry in found))
        raise ProviderRefused(f"realtime provider {shown(name)} is claimed by {owners}: remove one", code="provider")
    return found[0]


def _load(entry: EntryPoint) -> SessionFactory:
    try:
        factory: object = entry.load()
    except Exception as error:
        raise _refusal(entry, f"cannot be imported from {shown(entry.value)}", error) from error
    if not callable(factory):
        raise _refusal(entry, f"is no factory of sessions: {shown(entry.value)}", None)
    return factory


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "an unnamed package"


def _refusal(entry: EntryPoint, what: str, error: Exception | None) -> ProviderRefused:
    why = f": {type(error).__name__}: {shown(str(error), 200)}" if error is not None else ""
    return ProviderRefused(f"realtime provider {entry.name} of package {_package(entry)} {what}{why}", code="provider")
