"""The routes without middleware and isolated decoders: ``python -m bench.bare_app PORT MODEL``."""

from __future__ import annotations

import sys

import uvicorn

from bench import random_models
from sightline.server.app import create_app
from sightline.settings import Settings


def main(port: int, model: str) -> None:
    """Serve until terminated."""
    settings = Settings(
        _env_file=None,
        models_dir=random_models.FOLDER,
        offline=True,
        allow_random_weights=True,
        decode_workers=0,
        preload=(model,),
    )
    uvicorn.run(create_app(settings), host="127.0.0.1", port=port, log_level="error", access_log=False)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
