"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("shared machine", deadline=None)  # how long an example takes here says nothing of the code
settings.load_profile("shared machine")
