"""The shells: the only room that owns sockets and clocks.

`gateway.sip` and `gateway.media` decide what is sent and when; what is in here carries it out on the running event loop
and feeds back what arrived and what time it is. Nothing in here knows what a call is.
"""
