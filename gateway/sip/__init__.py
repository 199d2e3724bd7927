"""SIP by RFC 3261 and those around it, without I/O: bytes and time in, messages and events out.

::

    wire       hop, framing, grammar, uri, headers, message, multipart, bodies, vocabulary    what is written
    door       guard, auth_server, inspection, reception, reject_reason                       who and what is let in
    requests   timers, transaction, transaction_layer, client_request, auth                   request and response
    trunks     trunk, registration, probe, peer_watch                                         whom we know
    calls      dialog, invite_usage, leg, legs, invite_server, invite_client, reliable,       one call leg and its parts
               redirect, renegotiation, session_timer, refer_client, refer_server, replaces,
               digits, identity, failure
    media      description, sdp, sdes, rtcp_route                                             what a call agrees on
    front      user_agent, core, events                                                       commands in, events out

`gateway.sip.user_agent.UserAgent` is the whole of it to everybody else.
"""
