"""Certificates for tests, made by the openssl program: small keys, quickly made."""

import subprocess
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Certified(NamedTuple):
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def authority(folder: Path, name: str) -> Certified:
    """Make a CA."""
    made = Certified(folder / f"{name}.pem", folder / f"{name}.key")
    files = ("-keyout", made.key, "-out", made.certificate)
    openssl("req", "-x509", *CURVE, "-days", 30, "-subj", f"/CN={name}", *files)
    made.key.chmod(0o600)
    return made


def issued(ca: Certified, folder: Path, name: str) -> Certified:
    """Make a certificate of a CA for a host of that name."""
    made = Certified(folder / f"{name}.pem", folder / f"{name}.key")
    signing = ("-CA", ca.certificate, "-CAkey", ca.key, "-days", 20)
    extension = ("-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=critical,CA:FALSE")
    files = ("-keyout", made.key, "-out", made.certificate)
    openssl("req", "-x509", *CURVE, *signing, "-subj", f"/CN={name}", *extension, *files)
    made.key.chmod(0o600)
    return made


def expiring(folder: Path, name: str, *, at: datetime) -> Path:
    """Make a self-signed certificate that expires at a time, be that past or far."""
    config = folder / f"{name}.cnf"
    database = folder / f"{name}.index"
    database.touch()
    key, request, certificate = (folder / f"{name}.{kind}" for kind in ("key", "csr", "pem"))
    config.write_text(
        f"[ca]\ndefault_ca = d\n[d]\ndatabase = {database}\nnew_certs_dir = {folder}\nrand_serial = yes\n"
        "unique_subject = no\ndefault_md = sha256\npolicy = p\n[p]\ncommonName = supplied\n"
    )
    openssl("req", "-new", *CURVE, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
    times = ("-startdate", "19700102000000Z", "-enddate", at.strftime("%Y%m%d%H%M%SZ"))
    signing = ("-selfsign", "-keyfile", key, "-in", request, "-out", certificate, "-notext", "-batch")
    openssl("ca", "-config", config, *times, *signing)
    return certificate
