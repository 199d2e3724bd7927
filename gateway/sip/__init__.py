"""Signalling without input and output: RFC 3261 and its neighbours as values, tables and state machines.

Bytes and the time come in as arguments; datagrams and events go out as values. Nothing in here opens a socket, reads a
clock or awaits anything. `gateway.transport` is the shell around it.
"""
