"""Where the optional speech engines are imported, so that a missing extra is told in one sentence."""

from __future__ import annotations

import importlib
from types import ModuleType

from gateway.errors import ResourceError

ENGINES = ("pocketsphinx", "webrtcvad", "espeakng_loader")
"""Import names of everything in the `local` extra."""


def import_engine(name: str) -> ModuleType:
    """Import one speech engine.

    Raises:
        ResourceError: it is not installed, or its native library does not load on this machine.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise ResourceError(
            f"the embedded realtime server needs {name}, which does not load here ({error}): "
            "pip install '.[local]' in the gateway's source folder"
        ) from error


def require_engines() -> None:
    """Check that the whole `local` extra is there, before any process is started.

    Raises:
        ResourceError: naming the first engine that is missing and the remedy.
    """
    for name in ENGINES:
        import_engine(name)
