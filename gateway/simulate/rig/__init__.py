"""The processes of the realtime bench: a gateway, and the callers and the speech model it stands between.

::

    bench_realtime ──lines of JSON──> engine_gateway or naive_gateway      one core
                   └─────────────────> peers                              the other cores
                                         caller    RTP, stamped by the kernel
                                         provider  OpenAI Realtime GA, scripted

What is measured is the gateway's process alone; the others only have to be cheap, and tell when they are not.
"""
