"""A load client small enough not to be what is measured: raw HTTP/1.1 over kept-open loopback sockets."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

BOUNDARY = "sightline-bench-boundary"
# A run goes on past its time until each client could have had this many answers, the first not counted.
ROUNDS = 3


@dataclass(frozen=True)
class Target:
    """Where to post an image, as the form's file ``image`` beside other ``fields``."""

    name: str
    port: int
    path: str
    fields: Mapping[str, str] = field(default_factory=dict)

    def request(self, image: bytes) -> bytes:
        fields = "".join(
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in self.fields.items()
        )
        part = (
            f'{fields}--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        ).encode()
        body = part + image + f"\r\n--{BOUNDARY}--\r\n".encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        ).encode()
        return head + body


@dataclass(frozen=True)
class Measured:
    """One run: answers per second and latencies in milliseconds."""

    requests: int
    per_s: float
    p50_ms: float
    p99_ms: float

    def __str__(self) -> str:
        return f"{self.per_s:8.1f} images/s   p50 {self.p50_ms:7.1f} ms   p99 {self.p99_ms:7.1f} ms"


async def measure(target: Target, images: list[bytes], *, concurrency: int, seconds: float) -> Measured:
    """Post images in turn from ``concurrency`` clients that each wait for their answer and ask again at once.

    The clock starts with as many answers as there are clients and stops with a multiple of that, so that it
    does not matter whether answers come in batches or one by one.

    Raises:
        RuntimeError: any answer other than 200.
    """
    requests = [target.request(image) for image in images]
    answers: list[tuple[float, float]] = []  # when, and after how long
    began_all = time.perf_counter()

    def over() -> bool:
        return time.perf_counter() > began_all + seconds and len(answers) >= ROUNDS * concurrency

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        turn = number
        while not over():
            began = time.perf_counter()
            writer.write(requests[turn % len(requests)])
            turn += 1
            await _answer(reader)
            ended = time.perf_counter()
            answers.append((ended, ended - began))
        writer.close()

    await asyncio.gather(*(client(number) for number in range(concurrency)))
    # What ended after the clients began to leave was answered under less load.
    whole = max(ROUNDS, (len(answers) - concurrency) // concurrency) * concurrency
    counted = answers[concurrency:whole]
    ordered = sorted(latency for _, latency in counted)
    return Measured(
        requests=len(ordered),
        per_s=len(ordered) / (counted[-1][0] - answers[concurrency - 1][0]),
        p50_ms=statistics.median(ordered) * 1000,
        p99_ms=ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000,
    )


async def once(target: Target, image: bytes) -> object:
    """One answer, parsed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    writer.write(target.request(image))
    body = await _answer(reader)
    writer.close()
    return json.loads(body)


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    status = head.split(b" ", 2)[1]
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    body = await reader.readexactly(length)
    if status != b"200":
        raise RuntimeError(f"{status.decode()}: {body[:300].decode(errors='replace')}")
    return body
