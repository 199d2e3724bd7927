"""The composition root: commands, and the service they start. The only room that knows all others."""

from gateway.cli.main import main

__all__ = ["main"]
