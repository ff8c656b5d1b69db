"""Networks that a token may be used from, and who is behind a proxy."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from lakehouse.auth.errors import InvalidGrantError

Network: TypeAlias = IPv4Network | IPv6Network
Address: TypeAlias = IPv4Address | IPv6Address


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return networks; `InvalidGrantError` for what is none."""
    found = []
    for text in texts:
        try:
            found.append(ip_network(text))
        except ValueError as error:
            raise InvalidGrantError(
                f"{text[:80]!r} is no network: write 10.0.0.0/8, or an address ({error})"
            ) from error
    return tuple(found)


def is_within(address: str, allowed: Sequence[Network]) -> bool:
    found = parsed(address)
    return found is not None and any(found in each for each in allowed)


def parsed(address: str) -> Address | None:
    """Return an address; IPv4 within IPv6 is IPv4. None for a name, or for a socket."""
    try:
        found = ip_address(address.strip().removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def client_address(peer: str, forwarded: Sequence[str], proxies: Sequence[Network]) -> str:
    """Return who sent a request: the last address that none of our proxies has.

    Args:
        peer: who the connection is from.
        forwarded: addresses of `X-Forwarded-For`, as they came: each proxy appends who it met.
    """
    address = peer
    for before in reversed(forwarded):
        if not is_within(address, proxies):
            break
        address = before.strip()
    return address
