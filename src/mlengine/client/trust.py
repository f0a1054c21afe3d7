"""Whose certificate an ``https`` endpoint may show."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mlengine.core.errors import FailedPrecondition

if TYPE_CHECKING:
    import ssl

__all__ = ["Trust"]


class Trust(NamedTuple):
    """Who vouches for the other side.

    Attributes:
        ca: PEM file of authorities; empty: those that this machine trusts.
        pinned: PEM file of the one certificate to accept, whatever name it is made out to: that of
            an engine on this machine, whose file we can read.
    """

    ca: str = ""
    pinned: str = ""

    def context(self) -> ssl.SSLContext:
        """Return what checks a connection; TLS 1.2 and later.

        Raises:
            FailedPrecondition: The file cannot be read.
        """
        import ssl

        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        path = self.pinned or self.ca
        if not path:
            return context
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.pinned:
            context.check_hostname = False
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(path)
        except (OSError, ssl.SSLError) as error:
            raise FailedPrecondition(
                f"The certificates in {path} cannot be read: {error}.",
                "Name a PEM file with the setting 'ca' or MLENGINE_CA.",
            ) from None
        return context
