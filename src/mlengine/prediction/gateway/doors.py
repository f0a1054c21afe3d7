"""What a gateway listens on besides plain HTTP: TLS for all of it, and a port for gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mlengine.core.errors import FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    import ssl

__all__ = ["Doors"]


class Doors(NamedTuple):
    """How callers come in.

    Attributes:
        tls_cert: PEM file of the certificate and those that vouch for it; empty: no TLS.
        tls_key: PEM file of its private key.
        grpc_port: Port for gRPC; -1: none, 0: any free one.
    """

    tls_cert: str = ""
    tls_key: str = ""
    grpc_port: int = -1

    @property
    def scheme(self) -> str:
        """``https`` or ``http``."""
        return "https" if self.tls_cert else "http"

    @property
    def flags(self) -> Sequence[str]:
        """The gateway's own flags that open these doors."""
        flags = []
        if self.tls_cert:
            flags += ["--tls-cert", self.tls_cert, "--tls-key", self.tls_key]
        if self.grpc_port >= 0:
            flags += ["--grpc-port", str(self.grpc_port)]
        return flags

    def check(self) -> None:
        """Refuse half of a pair.

        Raises:
            InvalidArgument: A certificate without its key, or the other way round.
        """
        if bool(self.tls_cert) != bool(self.tls_key):
            given, missing = ("tls_cert", "tls_key") if self.tls_cert else ("tls_key", "tls_cert")
            raise InvalidArgument(
                f"'{given}' is set, but '{missing}' is not.",
                "TLS needs both: the certificate's file and that of its private key.",
            )

    def tls(self) -> ssl.SSLContext | None:
        """Return what accepts TLS 1.2 and later; None without a certificate.

        Raises:
            FailedPrecondition: The files cannot be read, or do not belong together.
        """
        if not self.tls_cert:
            return None
        import ssl  # late: most gateways have no use for it

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.tls_cert, self.tls_key, password=_refuse_password)
        except (OSError, ValueError) as error:
            raise FailedPrecondition(
                f"The certificate {self.tls_cert} and the key {self.tls_key} cannot be used: "
                f"{error}.",
                "Name two PEM files that belong together; the key must not have a password.",
            ) from None
        return context

    @property
    def certificate(self) -> tuple[Path, Path] | None:
        """Both files, for gRPC."""
        return (Path(self.tls_cert), Path(self.tls_key)) if self.tls_cert else None


def _refuse_password() -> str:
    raise ValueError("the key has a password")
