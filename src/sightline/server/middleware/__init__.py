"""The shell around the routes: pure ASGI middlewares, one per module, each usable around any ASGI app.

Outermost first, the order they are meant for:

- ``SecurityHeaders``: on every response.
- ``ErrorForms``: notes how the contract of the path writes errors.
- ``RequestLog``: sees and names every request, turns what escapes into a 500.
- ``TrustedHosts`` and ``HttpsRedirect``: nothing is told under a wrong name.
- ``Cors``: browsers' preflights bring no key.
- ``ForeignPages``: where no key keeps pages of other sites away.
- ``ApiKey``: before any body byte is read.
- ``RateLimit``: counts only who may ask.
- ``BodyLimit``: next to the routes that read bodies.
"""
