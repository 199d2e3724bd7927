"""The phases of a call. Each module holds functions that decide, and the rows of the table that lead to them.

::

    answering     from the first news until somebody can hear something
    consenting    the caller is told, or asked, that they are recorded
    conversing    caller and model talk; the session goes
    acting        the dialplan's actions, one after the other, and the steps that take their time
    transferring  from the wish to be connected to whoever takes the call
    concluding    a budget is reached, or used up
    ending        whatever ends the call, in any state

    keys          what the caller presses, in most states
    tool_calls    what the model wants to be done, in most states
    interruptions what the dialplan waited for has happened: it breaks in, or is done in passing
    in_passing    actions that take no time

A row stands in the module of the function that it names. `gateway.calls.call` joins them.

Who calls whom: all share `gateway.calls.course.Course`, and end with `Course.go_on`, which is `acting.perform`. Among
themselves they import in one direction only::

    acting ─────> answering, transferring, keys
    tool_calls ─> transferring ─> conversing
    consenting ─> keys ─────────> conversing ─> concluding, interruptions ─> in_passing
"""
