"""A SIP voice gateway: a PBX on one side, a realtime speech model on the other."""

__version__ = "0.1.0"
