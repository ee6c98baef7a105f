"""What middleware and isolation cost, and how the server behaves at twice and ten times what it can do."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import psutil

from bench import photos, random_models
from bench.load import Target, measure
from bench.servers import free_port, resident_mib, running, sightline

MODEL = "clip-vit-b-32"
PATH = "/v1/operations/embed_clip_vit_b_32"
CLIENTS, SECONDS, ROUNDS = 16, 8.0, 3
LOADS = (2, 10)
OVERLOAD_S, IDLE_S = 15.0, 10.0
# As many items as wait for a model, from the settings, and a batch that is computed.
QUEUE_ITEMS, BATCH_ITEMS = 64, 16


@dataclass
class Answers:
    """Latencies in milliseconds by what was answered."""

    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    other: list[int] = field(default_factory=list)


def run() -> dict[str, Any]:
    """Both parts; limits are in the names of the figures."""
    random_models.install([MODEL])
    images = photos.jpegs(640, 480)
    report: dict[str, Any] = {}
    rates: dict[str, list[float]] = {"bare": [], "whole": []}
    for _ in range(ROUNDS):
        for side in rates:
            rates[side].append(asyncio.run(_rate(side, images)))
    bare, whole = (statistics.median(rates[side]) for side in ("bare", "whole"))
    report |= {
        "bare app, images/s": bare,
        "whole server, images/s": whole,
        "whole / bare (0.90)": whole / bare,
    }
    report |= asyncio.run(_overloaded(images))
    return report


def show(report: dict[str, Any]) -> None:
    for name, value in report.items():
        print(f"{name:58} {value:10.3f}")


async def _rate(side: str, images: list[bytes]) -> float:
    port = free_port()
    if side == "bare":
        command = [sys.executable, "-m", "bench.bare_app", str(port), MODEL]
        server = running(command, port, "/readyz", {})
    else:
        server = sightline(port, preload=[MODEL])
    with server:
        found = await measure(Target(side, port, PATH), images, concurrency=CLIENTS, seconds=SECONDS)
        return found.per_s


async def _overloaded(images: list[bytes]) -> dict[str, float]:
    port = free_port()
    report: dict[str, float] = {}
    with sightline(port, preload=[MODEL], max_connections_per_address="0") as process:
        target = Target("ours", port, PATH)
        able = (await measure(target, images, concurrency=2 * CLIENTS, seconds=SECONDS)).per_s
        report["answers/s it can do"] = able
        bound_ms = 1000 * (QUEUE_ITEMS + BATCH_ITEMS) / able
        for load in LOADS:
            before = _memory_mib(process)
            answers = await _arriving(target, images, load * able)
            accepted, refused = sorted(answers.accepted), sorted(answers.refused)
            name = f"{load} x load"
            report |= {
                f"{name}: accepted/s": len(accepted) / OVERLOAD_S,
                f"{name}: accepted p99, ms": accepted[int(len(accepted) * 0.99)],
                f"{name}: p99 / (queue x service time) (1.1)": accepted[int(len(accepted) * 0.99)] / bound_ms,
                f"{name}: refused p50, ms (20)": statistics.median(refused) if refused else 0.0,
                f"{name}: refused p99, ms": refused[int(len(refused) * 0.99)] if refused else 0.0,
                f"{name}: neither 200 nor 429": float(len(answers.other)),
                f"{name}: memory grown, MiB": _memory_mib(process) - before,
            }
        await asyncio.sleep(3.0)
        process.cpu_percent()
        everything = [process, *process.children(recursive=True)]
        began = [sum(each.cpu_times()[:2]) for each in everything]
        await asyncio.sleep(IDLE_S)
        spent = sum(sum(each.cpu_times()[:2]) for each in everything) - sum(began)
        report["idle, percent of a core (1)"] = 100 * spent / IDLE_S
    return report


def _memory_mib(process: psutil.Process) -> float:
    return resident_mib(process) + sum(resident_mib(child) for child in process.children(recursive=True))


async def _arriving(target: Target, images: list[bytes], per_s: float) -> Answers:
    """Post at a fixed rate, whatever becomes of the answers. Each request has a connection of its own."""
    requests = [target.request(image) for image in images]
    answers, tasks = Answers(), []
    began = time.perf_counter()
    for number in range(int(per_s * OVERLOAD_S)):
        await asyncio.sleep(max(0.0, began + number / per_s - time.perf_counter()))
        tasks.append(asyncio.create_task(_post(target, requests[number % len(requests)], answers)))
    await asyncio.gather(*tasks)
    return answers


async def _post(target: Target, request: bytes, answers: Answers) -> None:
    began = time.perf_counter()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    except OSError:
        answers.other.append(0)
        return
    try:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
    except (OSError, asyncio.IncompleteReadError):
        answers.other.append(0)
        return
    finally:
        writer.close()
    latency_ms = 1000 * (time.perf_counter() - began)
    if status == 200:
        answers.accepted.append(latency_ms)
    elif status == 429:
        answers.refused.append(latency_ms)
    else:
        answers.other.append(status)
