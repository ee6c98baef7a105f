"""The shell around the routes: pure ASGI middlewares, one per module, each usable around any ASGI app.

Outermost first, the order they are meant for: ``SecurityHeaders`` (on whatever goes out), ``RequestLog``
(sees and names every request, turns what escapes into a 500), ``ApiKey`` (before any body byte is read),
``BodyLimit`` (next to the routes that read bodies).
"""
