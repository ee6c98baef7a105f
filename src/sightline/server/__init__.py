"""The HTTP service: routes over an analyzer, behind plain ASGI middleware. Start at ``app``."""
