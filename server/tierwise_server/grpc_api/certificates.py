"""TLS of the listener, with certificates that may be renewed while it serves.

gRPC asks for the certificates at each handshake, so a renewed one counts from the next connection
on. Connections that stand keep theirs, for `--max-connection-age-s` at most.
"""

from __future__ import annotations

import logging
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

MAX_FILE_BYTES: Final = 1 << 20


class CertificateError(Exception):
    """The files of the certificate cannot be used; the message is one line without their bytes."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class _Contents:
    """Bytes of the files. Without a `repr`, since one of them is a secret."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


class Certificates:
    """The server's certificate and key, and whom it takes client certificates from."""

    def __init__(self, certificate: str, key: str, client_ca: str = "") -> None:
        """Reads the files.

        Args:
            certificate: Path of the certificate chain.
            key: Path of its private key.
            client_ca: Path of the authorities of clients. Empty asks clients for no certificate.

        Raises:
            CertificateError: They cannot be read, or do not fit together.
        """
        self._paths = (Path(certificate), Path(key), Path(client_ca) if client_ca else None)
        self._lock = threading.Lock()
        # Before reading, so that an edit in between is seen.
        self._stamps = self._look()
        self._contents = self._read()
        self._complaint = ""

    def credentials(self) -> grpc.ServerCredentials:
        """Returns what a listener is opened with."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._contents),
            # The types leave out that None means "as before".
            cast("Callable[[], grpc.ServerCertificateConfiguration]", self.renewed),
            require_client_authentication=self._contents.client_ca is not None,
        )

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Returns what is to be used from now on; None where nothing has changed.

        Called by gRPC at each handshake, from its own threads. Files that cannot be used, as when
        one of the two is not written yet, change nothing.
        """
        with self._lock:
            stamps = self._look()
            if stamps == self._stamps:
                return None
            try:
                contents = self._read()
            except CertificateError as error:
                if str(error) != self._complaint:
                    self._complaint = str(error)
                    logger.error(  # noqa: TRY400 - the message says it all
                        "the new certificate cannot be used; the one before it stays",
                        extra={"reason": self._complaint},
                    )
                return None
            self._complaint = ""
            self._stamps = stamps
            if contents == self._contents:
                return None
            self._contents = contents
            logger.info("took over a renewed certificate")
            return _configuration(contents)

    def _look(self) -> tuple[tuple[int, ...] | None, ...]:
        """Returns what changes when a file does, at the price of no read."""
        return tuple(_stamp(path) if path is not None else None for path in self._paths)

    def _read(self) -> _Contents:
        certificate, key, client_ca = self._paths
        contents = _Contents(
            certificate=_bytes_of(certificate),
            key=_bytes_of(key),
            client_ca=_bytes_of(client_ca) if client_ca is not None else None,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # gRPC itself would only fail the handshakes.
            context.load_cert_chain(certificate, key, password=_no_password)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise CertificateError(
                f"{certificate} and {key} are no certificate with its key, in PEM and without a"
                f" password: {_shown(error)}"
            ) from error
        if contents.client_ca is not None:
            try:
                context.load_verify_locations(cadata=contents.client_ca.decode())
            except (ssl.SSLError, UnicodeDecodeError) as error:
                raise CertificateError(
                    f"{client_ca} holds no certificates in PEM: {_shown(error)}"
                ) from error
        return contents


def _configuration(contents: _Contents) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(contents.key, contents.certificate)], root_certificates=contents.client_ca
    )


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CertificateError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_FILE_BYTES:
        raise CertificateError(f"{path}: has more than {MAX_FILE_BYTES} bytes")
    return content


def _no_password() -> str:
    raise ValueError("the key asks for a password")


def _shown(error: Exception) -> str:
    """Returns what an error says, without where in OpenSSL it says so."""
    return getattr(error, "reason", None) or str(error)
