"""Where the trunks of a configuration are at present, for `gateway check`."""

from __future__ import annotations

import asyncio
from random import Random

from gateway.config import Configuration
from gateway.transport.locator import Target, hopeless, locate_apart
from gateway.transport.resolver import NameServiceError, Resolver
from gateway.transport.sockets import family_of


async def describe_trunks(configuration: Configuration) -> tuple[list[str], NameServiceError | None]:
    """A line for each server that has a name: its addresses, or why there are none; and why `gateway run` would end."""
    targets = {target: name for name, trunk in configuration.sip.trunks.items() for target in trunk.targets}
    locate = locate_apart(Resolver(configuration.resolver_options()), configuration.families)

    async def describe(target: Target) -> tuple[str, NameServiceError | None]:
        try:
            return ", ".join(str(hop) for hop in (await locate(target, Random(0))).hops), None
        except NameServiceError as error:
            return f"{'warning' if error.is_absent else 'not known at the moment'}: {error}", error

    found = await asyncio.gather(*map(describe, targets))
    lines = [
        f"trunk {name}: {target.host}: {what}"
        for (target, name), (what, _) in zip(targets.items(), found, strict=True)
        if family_of(target.host) is None
    ]
    return lines, hopeless([error for _, error in found])
