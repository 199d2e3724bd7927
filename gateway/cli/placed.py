"""What the start fails for, with the line of the configuration that led to it: files of TLS, names of servers."""

from __future__ import annotations

from gateway.config import Configuration
from gateway.errors import ResourceError
from gateway.transport.resolver import NameServiceError
from gateway.transport.tls import TlsContexts, TlsError, load_tls


def tls_of(configuration: Configuration) -> TlsContexts | None:
    """The contexts that the files give now; None where nothing speaks TLS. Blocks. Raises: `ResourceError`."""
    options = configuration.tls_options()
    try:
        return None if options is None else load_tls(options)
    except TlsError as error:
        problem = configuration.problem(("sip", "tls", error.key), str(error), "")
        raise ResourceError(str(problem)) from error


def placed(configuration: Configuration, error: NameServiceError) -> ResourceError:
    """`error` with the place of the trunk's server that cannot be found."""
    for name, trunk in configuration.sip.trunks.items():
        key = "peer" if trunk.registrar is None else "registrar"
        for index, target in enumerate(trunk.targets):
            if error.host == target.host or error.host.endswith(f".{target.host}"):  # _sip._udp.HOST
                return ResourceError(str(configuration.problem(("sip", "trunks", name, key, index), str(error), "")))
    return error
