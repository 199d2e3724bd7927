"""One call: a pure state machine that decides, and one task that carries out what it decided."""
