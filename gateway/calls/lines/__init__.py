"""Telephone lines of a call: signalling, media, keys, and whether anybody is still there."""
