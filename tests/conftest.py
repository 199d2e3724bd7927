"""What holds for every test."""

from __future__ import annotations

import os

from hypothesis import settings

EXAMPLES = int(os.environ.get("EXAMPLES", "100"))
"""Of each property whose test does not say how many."""

# How long an example takes on a shared machine says nothing of the code.
settings.register_profile("shared machine", deadline=None, max_examples=EXAMPLES)
settings.load_profile("shared machine")
