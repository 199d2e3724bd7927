"""What a model may do besides talking: how its tool calls are run, and what it is told of them.

::

    model ──ToolCalled──> Call.step ──RunTool──> ToolDesk ──┬─ BuiltInTools   keys, messages, notes, language
                             │                    │   ▲     ├─ http_tool      a web service
                             │                    │   │     ├─ CodeCheck      a code that the caller knows
                    transfer, hang_up             │   └─────┴─ McpServers     the tools of other processes
                    (the call's own)              └──{"result": …} or {"error": …}──> model

The rules: names and arguments are a model's words, and may be a caller's. They are held against the plan and the
schema before anything runs. What a tool answers is data: it goes back as the result of that call, within a size, and
never into an instruction. A tool has a deadline, runs beside the call, and its result is dropped where nobody waits for
it any more.
"""
