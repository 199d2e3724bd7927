"""Dialplans: YAML in, decisions out. Pure: no socket, no clock, no event loop; the time of a call is an argument."""
