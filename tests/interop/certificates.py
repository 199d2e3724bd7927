"""A certificate authority for one test run, and what it signs, by the machine's openssl: standard library only."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
VALID = ("-days", "2")


def obstacle() -> str:
    """Why none can be made on this machine; empty when they can."""
    return "" if shutil.which("openssl") else "openssl is not installed"


def make_authority(folder: Path) -> Path:
    """`ca.crt` and `ca.key` in `folder`; returns the certificate."""
    _openssl(folder, "req", "-x509", *KEY, *VALID, "-subj", "/CN=Interop CA", "-keyout", "ca.key", "-out", "ca.crt")
    return folder / "ca.crt"


def make_certificate(folder: Path, name: str, address: str) -> tuple[Path, Path]:
    """Certificate and key NAME.crt and NAME.key for an IP address, signed by the authority in `folder`."""
    (folder / f"{name}.ext").write_text(f"subjectAltName=IP:{address}\n")
    _openssl(folder, "req", *KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    authority = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", f"{name}.ext")
    _openssl(folder, "x509", "-req", *VALID, "-in", f"{name}.csr", *authority, "-out", f"{name}.crt")
    return folder / f"{name}.crt", folder / f"{name}.key"


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
