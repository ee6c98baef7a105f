"""The ``sightline`` command. Commands parse, call the layers below and print; they decide nothing.

One module per command. Modules import at the top only what ``sightline --help`` needs: runtimes, models and
pydantic are imported when a command runs.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit: 0 done, 1 something failed, 2 a mistake in the call, 130 interrupted."""
    try:
        from sightline.cli.app import app

        app(prog_name="sightline")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
