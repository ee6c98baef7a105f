"""Windows of rate limits in Redis, which several servers share."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from sightline.errors import ConfigurationError

if TYPE_CHECKING:
    from sightline.server.middleware.rate_limit import Counted

_log = logging.getLogger(__name__)

# A request waits so long for Redis before it is counted in this process alone.
TIMEOUT_S = 0.25
# After a failure Redis is left alone for a moment, so that not every request waits.
PAUSE_S = 5.0
_PREFIX = "sightline:rate:"

# Each key is a sorted set of the times of requests. Checked and counted in one step, by Redis' own clock, so
# that servers whose clocks differ agree. KEYS: the windows. ARGV: a name for the request, then amount and
# window in seconds for each key. Returns 0 if the request was counted, else the milliseconds until there is
# room.
_SCRIPT = """
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local wait_ms = 0
for i, key in ipairs(KEYS) do
  local amount, window_ms = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1]) * 1000
  redis.call('ZREMRANGEBYSCORE', key, '-inf', '(' .. (now_ms - window_ms))
  if redis.call('ZCARD', key) >= amount then
    local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    wait_ms = math.max(wait_ms, first[2] + window_ms - now_ms + 1)
  end
end
if wait_ms > 0 then return wait_ms end
for i, key in ipairs(KEYS) do
  redis.call('ZADD', key, now_ms, ARGV[1])
  redis.call('PEXPIRE', key, tonumber(ARGV[2 * i + 1]) * 1000 + 1000)
end
return 0
"""


class RedisWindows:
    """Counts requests in Redis. Connects at the first request.

    Raises:
        ConfigurationError: the address is not one of Redis.
    """

    def __init__(self, url: str) -> None:
        from redis import asyncio as redis

        try:
            self._redis: Any = redis.from_url(
                url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=None
            )
        except ValueError as error:
            raise ConfigurationError(
                f"SIGHTLINE_RATE_LIMIT_STORE: {error}; expected memory, or an address such as redis://host:6379/0"
            ) from error
        self._count = self._redis.register_script(_SCRIPT)
        self._failed_at: float | None = None

    async def count(self, asked: Collection[Counted]) -> int | None:
        """Count a request against each of ``asked``, or against none. Return 0, or the seconds to wait.

        None: Redis does not answer, so nothing was counted.
        """
        from redis.exceptions import RedisError

        now = time.monotonic()
        if self._failed_at is not None and now - self._failed_at < PAUSE_S:
            return None
        keys = [
            _PREFIX + "|".join((",".join(paths), str(rate.window_s), client)) for paths, rate, client in asked
        ]
        figures = [figure for _, rate, _ in asked for figure in (rate.amount, rate.window_s)]
        try:
            wait_ms = int(await self._count(keys=keys, args=[secrets.token_hex(8), *figures]))
        except (RedisError, OSError, TimeoutError) as error:
            if self._failed_at is None:
                _log.error("rate limits are counted by each server alone: Redis: %s", type(error).__name__)
            self._failed_at = now
            return None
        if self._failed_at is not None:
            _log.info("rate limits are counted in Redis again")
            self._failed_at = None
        return -(-wait_ms // 1000)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
