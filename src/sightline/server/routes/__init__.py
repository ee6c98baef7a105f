"""Routes: ``v1`` is ours, ``health`` is for whoever watches, ``compat`` speaks for the replaced services."""
