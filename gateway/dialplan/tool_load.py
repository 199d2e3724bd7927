"""The sections ``tools`` and ``mcp`` into the tools of a plan, or into what is wrong with them.

Raises nothing: `note` is told each problem by the path of its place.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from gateway.dialplan.arguments import Checker
from gateway.dialplan.request_template import (
    FACTS,
    TextTemplate,
    UrlTemplate,
    parse_json_template,
    parse_text_template,
    parse_url_template,
)
from gateway.dialplan.tool_source import HttpSource, McpSource, RequestSource, ToolSource
from gateway.dialplan.tools import (
    IDEMPOTENT_METHODS,
    CodeCheck,
    Filler,
    HttpRequest,
    McpPlan,
    SessionTool,
    ToolDefinition,
    ToolPlan,
    function_name,
)
from gateway.errors import shown
from gateway.located import Key, WrongValue, hint

DEFAULT_GRANT = "verified"
CODE_ARGUMENT = "code"
_NO_URL = UrlTemplate(origin="", path=TextTemplate(("/",)), query=TextTemplate(("",)))
_CODE_PARAMETERS: Mapping[str, object] = {
    "type": "object",
    "properties": {CODE_ARGUMENT: {"type": "string", "minLength": 1, "maxLength": 64}},
    "required": [CODE_ARGUMENT],
    "additionalProperties": False,
}

Path_ = Sequence[Key]


class Note(Protocol):
    """Takes a problem; ``at_key``: at the key that leads to the place."""

    def __call__(self, path: Path_, message: str, expected: str = "", *, at_key: bool = False) -> None:
        """Remember it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolLoader:
    """`note(path, message, expected)` is told what is wrong; `folder` is the plan's.

    `is_whole`: no tool has been left out for a mistake of its own.
    """

    note: Note
    folder: Path
    is_whole: bool = True

    def tools(self, written: Mapping[str, ToolSource], servers: Mapping[str, McpSource]) -> dict[str, ToolPlan]:
        """The plan's own tools."""
        for name in written:
            path = ("tools", name)
            if name in set(SessionTool):
                self.note(path, f"tool {name!r} is one that is built in", "expected another name", at_key=True)
            for server in servers:
                if name == server or name.startswith(f"{server}_"):
                    message = f"tool {name!r} is named as those of mcp {server!r}"
                    self.note(path, message, "expected another name", at_key=True)
        tools = {name: self._tool(name, tool) for name, tool in written.items()}
        self._check_marks(written, servers, tools)
        return tools

    def servers(self, written: Mapping[str, McpSource]) -> dict[str, McpPlan]:
        """The plan's MCP servers."""
        for name in written:
            if name in set(SessionTool):
                message = f"mcp {name!r} is a tool that is built in"
                self.note(("mcp", name), message, "expected another name", at_key=True)
            # One server must not have a name for what belongs to another, or to us.
            for kind, other in [
                *(("tool", tool.value) for tool in SessionTool),
                *(("mcp", other) for other in written),
            ]:
                if other.startswith(f"{name}_"):
                    message = f"a tool of mcp {name!r} could be named as {kind} {other!r}"
                    self.note(("mcp", name), message, "expected another name", at_key=True)
        return {name: self._server(name, server) for name, server in written.items()}

    def check_session(
        self, path: Path_, names: Sequence[str], tools: Collection[str], servers: Mapping[str, McpSource | None]
    ) -> None:
        """Note what a session lists and nobody has."""
        known = [*(tool.value for tool in SessionTool), *tools, *servers]
        for server, source in servers.items():
            known += [function_name(server, tool) for tool in (source.tools if source else None) or ()]
        for index, name in enumerate(names):
            if name not in known:
                self.note((*path, index), f"there is no tool {shown(name)!r}", hint(name, known))

    def _tool(self, name: str, tool: ToolSource) -> ToolPlan:
        path: tuple[Key, ...] = ("tools", name)
        if tool.verify is not None:
            for key in ("parameters", "optional"):
                if key in tool.model_fields_set:
                    self.note((*path, key), f"{key!r} has no effect with verify", "expected none: it takes the code")
            parameters = _CODE_PARAMETERS
        else:
            parameters = self._parameters(path, tool)
        checker = self._checker((*path, "parameters"), parameters) or Checker(_CODE_PARAMETERS)
        run: HttpRequest | CodeCheck
        if tool.http is not None:
            run = self.request((*path, "http"), tool.http, parameters)
        else:
            verify = tool.verify
            run = CodeCheck(codes=verify.codes, tries=verify.tries) if verify else CodeCheck(codes=())
        return ToolPlan(
            definition=ToolDefinition(name=name, description=tool.description, parameters=parameters),
            arguments=checker,
            run=run,
            filler=_filler(tool.filler, tool.filler_after),
            after=tool.after,
            grants=tool.grants or (DEFAULT_GRANT if tool.verify else None),
        )

    def _parameters(self, path: tuple[Key, ...], tool: ToolSource) -> Mapping[str, object]:
        """The schema of the arguments: as it is written, or made from a table of arguments."""
        written = tool.parameters
        if written is None:
            written = {}
        if not isinstance(written, Mapping):
            self.note((*path, "parameters"), "'parameters' is no table", "expected arguments and their schemas")
            written = {}
        if written.get("type") == "object":
            if tool.optional:
                message = "'optional' has no effect beside a whole schema"
                self.note((*path, "optional"), message, "expected 'required' in the schema")
            return dict(written)
        for index, name in enumerate(tool.optional):
            if name not in written:
                self.note((*path, "optional", index), f"there is no argument {shown(name)!r}", hint(name, written))
        for name, schema in written.items():
            if not isinstance(schema, Mapping):
                message = f"argument {shown(name)!r} has no schema"
                self.note((*path, "parameters", name), message, "expected such as {type: string}")
        return {
            "type": "object",
            "properties": {name: schema for name, schema in written.items() if isinstance(schema, Mapping)},
            "required": [name for name in written if name not in tool.optional],
            "additionalProperties": False,
        }

    def _checker(self, path: Path_, schema: Mapping[str, object]) -> Checker | None:
        try:
            return Checker(schema)
        except ValueError as error:
            self.note(path, f"{path[-1]!r} is no JSON Schema: {error}", "expected JSON Schema 2020-12")
            return None

    def request(
        self,
        path: tuple[Key, ...],
        http: RequestSource,
        parameters: Mapping[str, object] = MappingProxyType({}),
        facts: Collection[str] = FACTS,
    ) -> HttpRequest:
        """The request that `http` describes, into which the `facts` and what `parameters` describes may be filled."""
        url = _NO_URL
        try:
            url = parse_url_template(http.url)
        except WrongValue as error:
            self.note((*path, "url"), f"'url' {error}", error.expected)
        query = {key: parse_text_template(text) for key, text in http.query.items()}
        body = None if http.json_ is None else parse_json_template(http.json_)
        others: list[tuple[Path_, Sequence[str]]] = [
            (("query", key), template.names) for key, template in query.items()
        ]
        others += [(("json",), body.names)] if body is not None else []
        self._check_names(path, parameters, facts, url, others)
        if body is not None and http.method in ("GET", "DELETE"):
            self.note((*path, "json"), f"'json' has no effect with {http.method}", "expected method: POST")
        tool = http if isinstance(http, HttpSource) else None
        selected = tuple(step for step in tool.result.split(".") if step) if tool else ()
        return HttpRequest(
            method=http.method,
            url=url,
            query=query,
            body=body,
            headers=tuple(http.headers.items()),
            timeout_s=http.timeout,
            retries=http.retries,
            is_idempotent=http.idempotent or http.method in IDEMPOTENT_METHODS,
            ca_file=self._file((*path, "ca_file"), http.ca_file),
            select=selected,
            result=self._result((*path, "result_schema"), tool.result_schema) if tool else None,
        )

    def _check_names(
        self,
        path: tuple[Key, ...],
        parameters: Mapping[str, object],
        facts: Collection[str],
        url: UrlTemplate,
        others: Sequence[tuple[Path_, Sequence[str]]],
    ) -> None:
        """Note arguments that there are not, and those in the path that may be missing.

        `others`: the names in the rest of the request, by their places.
        """
        properties, required = parameters.get("properties"), parameters.get("required")
        known = [*facts, *(properties if isinstance(properties, Mapping) else ())]
        used = [(("url",), url.names), *others]
        for place, names in used:
            for name in names:
                if name not in known:
                    self.note((*path, *place), f"unknown argument {{{shown(name)}}}", hint(name, known))
        for name in url.path.names:
            is_needed = isinstance(required, Sequence) and name in required
            if name in known and name not in facts and not is_needed:
                self.note(
                    (*path, "url"), f"{{{shown(name)}}} is in the path and may be missing", "expected it required"
                )

    def _result(self, path: Path_, schema: object) -> Checker | None:
        if schema is None:
            return None
        if not isinstance(schema, Mapping):
            self.note(path, f"{path[-1]!r} is no table", "expected JSON Schema 2020-12")
            return None
        return self._checker(path, schema)

    def _file(self, path: Path_, name: str) -> Path | None:
        if not name:
            return None
        file = self.folder / name
        if not file.is_file():
            self.note(path, f"{shown(name)!r} is not a file", "expected certificates (PEM)")
        return file

    def _server(self, name: str, server: McpSource) -> McpPlan:
        path: tuple[Key, ...] = ("mcp", name)
        if server.url:
            try:
                if parse_url_template(server.url).names:
                    self.note((*path, "url"), "'url' holds an argument", "expected one fixed address")
            except WrongValue as error:
                self.note((*path, "url"), f"'url' {error}", error.expected)
        return McpPlan(
            name=name,
            command=(server.command, *server.args) if server.command else (),
            environment=tuple(server.env.items()),
            folder=self.folder if server.command else None,
            url=server.url,
            headers=tuple(server.headers.items()),
            ca_file=self._file((*path, "ca_file"), server.ca_file),
            tools=server.tools,
            timeout_s=server.timeout,
            filler=_filler(server.filler, server.filler_after),
            after=server.after,
        )

    def _check_marks(
        self, written: Mapping[str, ToolSource], servers: Mapping[str, McpSource], tools: Mapping[str, ToolPlan]
    ) -> None:
        granted = {tool.grants for tool in tools.values() if tool.grants}
        waiting = [("tools", name, tool.after) for name, tool in written.items()]
        waiting += [("mcp", name, server.after) for name, server in servers.items()]
        for section, name, mark in waiting:
            if mark and mark not in granted and self.is_whole:
                self.note((section, name, "after"), f"nothing grants {shown(mark)!r}", hint(mark, granted))
        for name, tool in written.items():
            if tool.after and tool.after == tools[name].grants:
                self.note(("tools", name, "after"), "the tool grants what it waits for", "expected another mark")


def _filler(text: str, after_s: float) -> Filler | None:
    return Filler(text=text, after_s=after_s) if text.strip() else None
