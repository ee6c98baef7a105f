"""Notices to systemd (sd_notify(3)): ready, alive, stopping. Nothing is sent without systemd."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

# Variables of systemd's own protocol, not settings.
_SOCKET, _WATCHDOG = "NOTIFY_SOCKET", "WATCHDOG_USEC"


def notify(state: str) -> None:
    """Send a state such as "READY=1". An address that is gone is ignored: systemd would have told."""
    address = os.environ.get(_SOCKET, "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        try:
            # A leading @ stands for the zero byte of an abstract address.
            notices.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
        except OSError:
            return


async def keep_alive(is_alive: Callable[[], bool]) -> None:
    """Tell systemd's watchdog that the event loop runs, twice in each of its periods, until cancelled.

    While ``is_alive`` returns False nothing is sent, so that systemd restarts the service.
    """
    try:
        period_s = int(os.environ.get(_WATCHDOG, "0")) / 1e6
    except ValueError:
        period_s = 0.0
    while period_s > 0:
        if is_alive():
            notify("WATCHDOG=1")
        await asyncio.sleep(period_s / 2)
