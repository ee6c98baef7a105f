"""Built-in commands that load through the hook of command plug-ins: see :mod:`sightline.cli.plugins`."""
