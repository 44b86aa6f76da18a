"""Python's zae-limiter as a peer, one process a connection, driven by JSON lines.

    peer.py SOCKET

Listens on a socket in the file system, prints a line when it does, and ends with its standard input. Each
connection is a process of its own with nothing in its caches. A request is
{"id": ..., "do": OPERATION, "now_ms": the time from here on, ...arguments}, its answer {"id", "result"} or
{"id", "error": {"type", "parents", "message", "fields", "as_dict"}}. Requests of one connection run side by side.
Works with every release that has zae_limiter.Repository.open.
"""

import asyncio
import dataclasses
import datetime
import enum
import inspect
import json
import logging
import os
import random
import signal
import socket
import sys
import threading
import time

import zae_limiter
from zae_limiter import Limit, OnUnavailable, RateLimiter, Repository

# Modules that a peer loads while it works are loaded before it is forked.
import aiobotocore.session
import zae_limiter.limiter
import zae_limiter.repository


class Clock:
    """Stands in for the module `time` where zae-limiter looks at it."""

    now_ms = None

    def time(self):
        # The nearest float from below may be a millisecond short once it is multiplied again.
        return time.time() if self.now_ms is None else (self.now_ms + 0.25) / 1000

    def monotonic(self):
        return time.monotonic() if self.now_ms is None else self.now_ms / 1000

    def gmtime(self, seconds=None):
        return time.gmtime(self.time() if seconds is None else seconds)

    def __getattr__(self, name):
        return getattr(time, name)


class Draws:
    """Stands in for the module `random`: every draw takes the element of one place, modulo their number."""

    def __init__(self, place):
        self.place = place

    def randrange(self, start, stop=None):
        start, stop = (0, start) if stop is None else (start, stop)
        return start + self.place % (stop - start)

    def choice(self, elements):
        return elements[self.place % len(elements)]

    def uniform(self, low, high):
        return high if self.stamps else random.uniform(low, high)

    stamps = False

    def __getattr__(self, name):
        return getattr(random, name)


def modules():
    return [m for name, m in list(sys.modules.items()) if name.partition(".")[0] == "zae_limiter" and m]


CLOCK = Clock()


def drive_clock():
    for module in modules():
        if getattr(module, "time", None) is time:
            module.time = CLOCK
    cache = getattr(sys.modules.get("zae_limiter.rejection_cache"), "RejectionCache", None)
    if cache:
        defaults = cache.__init__.__defaults__
        cache.__init__.__defaults__ = tuple(CLOCK.monotonic if d is time.monotonic else d for d in defaults)


async def share_session():
    """Has all peers use one session of botocore, which has read its models once they are forked."""
    session = aiobotocore.session.get_session()
    async with session.create_client("dynamodb", region_name="us-east-1", endpoint_url="http://127.0.0.1:1"):
        pass
    for module in modules():
        if hasattr(module, "get_session"):
            module.get_session = lambda: session


def steer(draws):
    for module in modules():
        if getattr(module, "random", None) is random:
            module.random = Draws(draws)
    schema = sys.modules["zae_limiter.schema"]
    if hasattr(schema, "_STAMP_RNG"):
        schema._STAMP_RNG = Draws(draws)
        schema._STAMP_RNG.stamps = True


def plain(value):
    """The value as JSON has it."""
    if isinstance(value, Limit):
        return value.to_dict()
    if isinstance(value, enum.Enum):
        return value.value
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(k if not isinstance(k, enum.Enum) else k.value): plain(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(plain(v) for v in value)
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if dataclasses.is_dataclass(value):
        fields = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if not f.name.startswith("_")}
        for name, attribute in inspect.getmembers(type(value), lambda a: isinstance(a, property)):
            if not name.startswith("_"):
                fields.setdefault(name, plain(getattr(value, name)))
        return fields
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    return str(value)


def failure(error):
    described = {
        "type": type(error).__name__,
        "parents": [c.__name__ for c in type(error).__mro__[1:]],
        "message": str(error),
        "fields": {k: plain(v) for k, v in vars(error).items() if not k.startswith("_")},
    }
    if hasattr(error, "as_dict"):
        described["as_dict"] = plain(error.as_dict())
        described["retry_after_header"] = error.retry_after_header
    return described


def converted(name, value):
    """An argument of zae-limiter from what JSON has of it."""
    if name == "limits" and isinstance(value, list):
        return [Limit.from_dict(v) if isinstance(v, dict) else v for v in value]
    if name == "on_unavailable" and value is not None:
        return OnUnavailable(value)
    return value


class BodyFailed(Exception):
    """What the body of an acquire raises when it is told to fail."""


class Peer:
    def __init__(self):
        self.repository = self.limiter = None
        self.leases = {}

    async def open(self, how="open", namespace="default", table=None, endpoint=None, speculative=True, draws=None, options=None, scoped=None):
        """Opens a repository as the release does: how is open, connect or builder, whose options are methods."""
        if draws is not None:
            steer(draws)
        options = options or {}
        where = {"stack": table, "region": "us-east-1", "endpoint_url": endpoint}
        if how == "builder":
            builder = Repository.builder()
            for name, value in {"stack": table, "region": "us-east-1", "endpoint_url": endpoint, "namespace": namespace, **options}.items():
                builder = getattr(builder, name)(value)
            repository = await builder.build()
        else:
            repository = await getattr(Repository, how)(namespace, **where, **options)
        if scoped is not None:
            repository = await self.awaited(repository.namespace(scoped))
        if self.repository:
            await self.repository.close()
        self.repository = repository
        self.limiter = RateLimiter(repository=repository, speculative_writes=speculative)
        return {"version": zae_limiter.__version__, "namespace_id": getattr(repository, "namespace_id", None)}

    async def create_table(self, table, endpoint):
        """Has the release create a table as it does without CloudFormation."""
        repository = Repository(table, region="us-east-1", endpoint_url=endpoint)
        try:
            await repository.create_table()
        finally:
            await repository.close()

    async def awaited(self, value):
        return await value if inspect.isawaitable(value) else value

    async def call(self, on="limiter", method="", args=(), kwargs=None):
        """Calls any method of the limiter or of its repository."""
        kwargs = {k: v if on == "repository" and k == "on_unavailable" else converted(k, v) for k, v in (kwargs or {}).items()}
        return await self.awaited(getattr(getattr(self, on), method)(*args, **kwargs))

    async def acquire(self, body=(), **request):
        """A whole acquire; the steps of the body are {METHOD: amounts}, {"on": resource, METHOD: amounts} or {"raise": text}."""
        manager = self.limiter.acquire(**{k: converted(k, v) for k, v in request.items()})
        async with manager as lease:
            for step in body:
                await self.step(lease, **step)
            facts = self.facts(lease)
        return facts

    async def enter(self, lease, **request):
        """The first half of an acquire, under a name for the lease."""
        manager = self.limiter.acquire(**{k: converted(k, v) for k, v in request.items()})
        self.leases[lease] = manager, await manager.__aenter__()
        return self.facts(self.leases[lease][1])

    async def body(self, lease, **step):
        """One step of the body of a lease that was entered."""
        _, entered = self.leases[lease]
        await self.step(entered, **step)
        return self.facts(entered)

    async def exit(self, lease, error=None):
        """Ends a lease that was entered, with the error if there is one."""
        manager, _ = self.leases.pop(lease)
        if error is None:
            await manager.__aexit__(None, None, None)
            return None
        raised = BodyFailed(error)
        try:
            await manager.__aexit__(BodyFailed, raised, None)
        except BodyFailed as again:
            if again is not raised:
                raise
        return None

    async def step(self, lease, on=None, **step):
        if "raise" in step:
            raise BodyFailed(step["raise"])
        target = lease.resource(on) if on else lease
        for method, amounts in step.items():
            await getattr(target, method)(**amounts)

    def facts(self, lease):
        return {
            "consumed": plain(lease.consumed),
            "bypassed": getattr(lease, "bypassed", False),
            "degraded": getattr(lease, "degraded", False),
            "overdrawn": plain(getattr(lease, "overdrawn", [])),
            "resources": plain(getattr(lease, "resources", [])),
            "entries": [
                {
                    "entity_id": e.entity_id,
                    "resource": e.resource,
                    "limit": plain(e.limit),
                    "consumed": e.consumed,
                    "shard": getattr(e, "_shard_id", 0),
                    "tokens_milli": e.state.tokens_milli,
                }
                for e in lease.entries
            ],
        }

    async def schedule(self, function, entries=(), resets=(), text="", tz="UTC", base=(), at=0, deficit=0, shards=1):
        """A function of the schedules, by its name in Python; fails as that does."""
        from zae_limiter import schedule

        sched = tuple(schedule.ScheduleEntry(**e) for e in entries)
        reset = tuple(schedule.ScheduleEntry.reset(**e) for e in resets)
        match function:
            case "encode":
                return schedule.encode(sched)[0]
            case "encode_reset":
                return schedule.encode_reset(reset)[0]
            case "decode":
                return schedule.encode(schedule.decode(text, tz))[0]
            case "decode_reset":
                return schedule.encode_reset(schedule.decode_reset(text, tz))[0]
            case "effective_params":
                return schedule.effective_params(*base, sched, at)
            case "prev_reset_edge":
                return schedule.prev_reset_edge(reset, at)
            case "next_reset_edge":
                return schedule.next_reset_edge(reset, now_ms=at)
            case "next_boundary":
                return schedule.next_boundary(sched, reset, now_ms=at)
            case "retry_after_with_schedule":
                return schedule.retry_after_with_schedule(deficit, *base, sched, reset, now_ms=at, shard_count=shards)
        raise ValueError(f"no function {function!r}")

    async def close(self):
        await self.repository.close()


OPERATIONS = ("open", "create_table", "call", "acquire", "enter", "body", "exit", "schedule", "close")


async def serve(connection):
    reader, writer = await asyncio.open_unix_connection(sock=connection, limit=1 << 26)
    peer, running = Peer(), set()

    async def answer(identity, operation, arguments):
        try:
            if operation not in OPERATIONS:
                raise ValueError(f"no operation {operation!r}")
            reply = {"id": identity, "result": plain(await getattr(peer, operation)(**arguments))}
        except Exception as error:  # all of them are answers
            reply = {"id": identity, "error": failure(error)}
        writer.write(json.dumps(reply).encode() + b"\n")

    while line := await reader.readline():
        request = json.loads(line)
        now_ms = request.pop("now_ms", None)
        if now_ms is not None:
            CLOCK.now_ms = now_ms
        task = asyncio.create_task(answer(request.pop("id"), request.pop("do"), request))
        running.add(task)
        task.add_done_callback(running.discard)
    if peer.repository:
        await peer.close()


def main(path):
    logging.getLogger("zae_limiter").addHandler(logging.NullHandler())
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # a repository that could not be opened keeps its client
    drive_clock()
    asyncio.run(share_session())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)

    def end_with_input():
        while os.read(0, 1024):  # not sys.stdin, whose lock a fork would keep
            pass
        os._exit(0)

    threading.Thread(target=end_with_input, daemon=True).start()
    print(zae_limiter.__version__, flush=True)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            asyncio.run(serve(connection))
            os._exit(0)
        connection.close()


if __name__ == "__main__":
    main(sys.argv[1])
