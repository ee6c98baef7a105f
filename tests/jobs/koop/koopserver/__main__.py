"""``python -m koopserver``: the servers by hand, until Ctrl-C."""

from __future__ import annotations

import argparse
import threading

from koopserver.rate import Rate
from koopserver.server import ROLES, KoopServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="koopserver", description="The publications servers on loopback.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--per-day", type=int, default=3, help="traffic decisions on each date")
    parser.add_argument("--burst", type=float, help="requests at once before 429; default: no limit")
    parser.add_argument("--per-s", type=float, default=1.0, help="requests each second after the burst")
    parser.add_argument(
        "--port", type=int, default=0, help="the first of three ports; default: any free ones"
    )
    given = parser.parse_args()
    ports = {role: given.port + at for at, role in enumerate(ROLES)} if given.port else None
    rate = Rate(given.burst, given.per_s) if given.burst else None
    with KoopServer(given.seed, given.per_day, rate=rate, ports=ports) as koop:
        print(f"search       {koop.search_url}")
        print(f"reader       {koop.reader_url}")
        print(f"attachments  {koop.attachments_url}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print(f"{len(koop.log)} requests")


if __name__ == "__main__":
    main()
