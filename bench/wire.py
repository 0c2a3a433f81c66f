"""How many requests a second the wire sends: one process, one event loop, nginx on loopback, 130-byte POSTs.

    python -m bench.wire [--requests N] [--connections 64] [--rounds 3]

Compares httpx's own transport with Clarion's behind the same seam, and both with the engine alone; then says
what one `httpx.Request` costs, by the way it is built.
"""

import argparse
import asyncio
import time
import timeit
from collections.abc import Awaitable, Callable

import httpx
import uvloop
from pyreqwest.client import ClientBuilder
from rich.console import Console
from rich.table import Table

from bench.sink import nginx_sink
from clarion.sending.wire import Wire

BODY = b'{"to":"447700900123","text":"' + b"x" * 99 + b'"}'
TIMEOUT = {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}
HEADERS = [
    (b"Content-Type", b"application/json"),
    (b"Authorization", b"Bearer " + b"t" * 40),
    (b"Idempotency-Key", b"0198c1c2-5bd5-7c3e-a4b0-5d3d6f5d2c11.1.1"),
]
Send = Callable[[], Awaitable[int]]


async def rate(send: Send, *, requests: int, connections: int) -> float:
    """Requests a second of `connections` tasks that each send one request after the other."""
    for _ in range(connections):
        await send()
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_repeat(send, times=requests // connections))
    return requests // connections * connections / (time.perf_counter() - started)


async def _repeat(send: Send, *, times: int) -> None:
    for _ in range(times):
        status = await send()
        if status != httpx.codes.ACCEPTED:
            raise SystemExit(f"the sink answered {status}")


def cheap_request(url: httpx.URL) -> httpx.Request:
    """A request from ready parts: a parsed URL, raw headers with Host and Content-Length, the body."""
    length = (b"Content-Length", str(len(BODY)).encode())
    headers = [(b"Host", url.netloc), *HEADERS, length]
    return httpx.Request(
        "POST", url, headers=headers, stream=httpx.ByteStream(BODY), extensions={"timeout": TIMEOUT}
    )


async def _stock(url: str, *, requests: int, connections: int) -> float:
    limits = httpx.Limits(max_connections=connections)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:

        async def send() -> int:
            return (await client.post(url, content=BODY, headers=HEADERS)).status_code

        return await rate(send, requests=requests // 10, connections=connections)


async def _client_over_wire(url: str, *, requests: int, connections: int) -> float:
    async with httpx.AsyncClient(transport=Wire(max_connections=connections)) as client:

        async def send() -> int:
            return (await client.post(url, content=BODY, headers=HEADERS)).status_code

        return await rate(send, requests=requests // 2, connections=connections)


async def _request_into_wire(url: str, *, requests: int, connections: int) -> float:
    async with Wire(max_connections=connections) as wire:

        async def send() -> int:
            request = httpx.Request(
                "POST", url, content=BODY, headers=HEADERS, extensions={"timeout": TIMEOUT}
            )
            return (await wire.handle_async_request(request)).status_code

        return await rate(send, requests=requests, connections=connections)


async def _cheap_request_into_wire(url: str, *, requests: int, connections: int) -> float:
    parsed = httpx.URL(url)
    async with Wire(max_connections=connections) as wire:

        async def send() -> int:
            return (await wire.handle_async_request(cheap_request(parsed))).status_code

        return await rate(send, requests=requests, connections=connections)


async def _engine_alone(url: str, *, requests: int, connections: int) -> float:
    headers = [(name.decode(), value.decode()) for name, value in HEADERS]
    async with ClientBuilder().build() as client:

        async def send() -> int:
            answer = await client.post(url).headers(headers).body_bytes(BODY).build().send()
            await answer.bytes()
            return answer.status

        return await rate(send, requests=requests, connections=connections)


WIRES = {
    "httpx.AsyncClient, its own transport": _stock,
    "httpx.AsyncClient over Wire": _client_over_wire,
    "httpx.Request into Wire": _request_into_wire,
    "httpx.Request from ready parts into Wire": _cheap_request_into_wire,
    "the engine alone (pyreqwest)": _engine_alone,
}


def request_costs(url: str, *, times: int = 20_000) -> dict[str, float]:
    """Microseconds to build one `httpx.Request`, by the way it is built."""
    parsed = httpx.URL(url)
    ways: dict[str, Callable[[], object]] = {
        "URL as text, content": lambda: httpx.Request("POST", url, content=BODY, headers=HEADERS),
        "URL parsed once, content": lambda: httpx.Request("POST", parsed, content=BODY, headers=HEADERS),
        "URL parsed once, raw headers, ByteStream": lambda: cheap_request(parsed),
    }
    return {name: min(timeit.repeat(way, number=times, repeat=3)) / times * 1e6 for name, way in ways.items()}


def main() -> None:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=30_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with nginx_sink() as sink:
        url = f"{sink}/v1/messages"
        # Round by round, and the best of each: what else the machine does then disturbs all alike.
        rates = dict.fromkeys(WIRES, 0.0)
        for name, run in list(WIRES.items()) * options.rounds:
            measured = uvloop.run(run(url, requests=options.requests, connections=options.connections))
            rates[name] = max(rates[name], measured)
    alone = rates["the engine alone (pyreqwest)"]
    table = Table("wire", "requests/s", "of the engine", title=f"{options.connections} connections, uvloop")
    for name, value in rates.items():
        table.add_row(name, f"{value:,.0f}", f"{value / alone:.0%}")
    costs = Table("httpx.Request built from", "us")
    for name, value in request_costs(url).items():
        costs.add_row(name, f"{value:.1f}")
    Console().print(table, costs)


if __name__ == "__main__":
    main()
