"""Files delivered with the gateway: beside the package in a checkout, inside it when installed from a wheel."""

from __future__ import annotations

from pathlib import Path

import gateway


def shipped(name: str) -> Path:
    """The path of ``config/…`` or ``dialplans/…``."""
    package = Path(gateway.__file__).parent
    inside = package / "_shipped" / name
    return inside if inside.exists() else package.parent / name
