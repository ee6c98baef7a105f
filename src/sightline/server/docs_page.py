"""``/docs`` (Swagger UI) and ``/redoc`` (ReDoc), served from here: neither needs the internet.

Both read OpenAPI 3.1, which is what ``/openapi.json`` is. The assets come from the package fastapi-offline.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import fastapi_offline
from fastapi import FastAPI
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from sightline.server.contract import Contract

_ASSETS = Path(fastapi_offline.__file__).with_name("static")
# Both pages write <style> elements; no script is inline, and everything comes from this origin.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
CONTENT_SECURITY_POLICIES: Mapping[str, str] = {
    "/docs": _POLICY,
    "/redoc": f"{_POLICY}; worker-src blob:",  # ReDoc indexes its search in a worker of its own making
}
# Pages that hold no secrets. A browser's address bar cannot send an API key.
CONTRACT = Contract(name="docs", prefixes=("/docs", "/redoc", "/openapi.json"), needs_key=False)

# Addresses are relative: they also hold below the root path of a proxy.
_SWAGGER_UI = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sightline</title>
<link rel="icon" href="docs/assets/favicon.png">
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: true,
  presets: [SwaggerUIBundle.presets.apis],
});
"""
_REDOC = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sightline</title>
<link rel="icon" href="docs/assets/favicon.png">
<style>body { margin: 0; padding: 0; }</style>
</head>
<body>
<redoc spec-url="openapi.json"></redoc>
<script src="docs/assets/redoc.standalone.js"></script>
</body>
</html>
"""


def install(app: FastAPI) -> None:
    """Add the pages and their assets."""
    app.mount("/docs/assets", StaticFiles(directory=_ASSETS), name="docs-assets")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(_SWAGGER_UI)

    @app.get("/docs/start.js", include_in_schema=False)
    async def start() -> Response:
        return Response(_START, media_type="text/javascript")

    @app.get("/redoc", include_in_schema=False)
    async def redoc() -> HTMLResponse:
        return HTMLResponse(_REDOC)
