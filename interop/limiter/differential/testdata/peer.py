"""The Python side of a differential run: one process, requests and answers a line of JSON each.

A request has id, do, now_ms (the clock of everything that this process decides) and draw (the number
that every random choice of a shard is made from); what else it has depends on do. Answers are
{"id", "result"} or {"id", "error": {"type", "message", and what the error knows}}.
"""

import json
import logging
import random
import sys
import time
import warnings


class Clock:
    def __init__(self):
        self.ms = 0

    # A quarter of a millisecond more, so that int(seconds * 1000) is the millisecond meant.
    def seconds(self):
        return (self.ms + 0.25) / 1000


CLOCK = Clock()
DRAW = 0
gmtime = time.gmtime
time.time = CLOCK.seconds
time.gmtime = lambda seconds=None: gmtime(CLOCK.ms // 1000 if seconds is None else seconds)


def randrange(start, stop=None):
    low, high = (0, start) if stop is None else (start, stop)
    return low + DRAW % (high - low)


random.randrange = randrange
random.choice = lambda items: items[DRAW % len(items)]
warnings.simplefilter("ignore")
logging.disable()

import zae_limiter  # noqa: E402
from zae_limiter import Limit, SyncRateLimiter, SyncRepository, schema  # noqa: E402

# Stamps last as long as they may.
schema._STAMP_RNG.uniform = lambda low, high: high


class Given(Exception):
    """What a body raises."""


class Peer:
    def __init__(self, endpoint, table, namespace):
        self.arguments = {"namespace": namespace, "stack": table, "region": "us-east-1", "endpoint_url": endpoint}
        # Without its cache of configs Python reads limits in the pass that uses them, as ours does (B30).
        self.repository = SyncRepository.open(parallel_mode="serial", auto_update=False, config_cache_ttl=0, **self.arguments)
        self.repository._caller_identity_fetched = True
        self.limiters = {}
        for speculative in (True, False):
            self.limiters[speculative] = SyncRateLimiter(repository=self.repository, speculative_writes=speculative)
        self.restart()

    def restart(self):
        """What another process would know: nothing."""
        r = self.repository
        r._rejection_cache._clock = CLOCK.seconds
        r._rejection_cache.clear()
        for cache in (r._entity_cache, r._cascade_cache, r._owner_stamp_cache, r._bypass_cache):
            cache.clear()
        r.invalidate_config_cache()
        r._audit_retention_days_cache = None

    def do_restart(self, request):
        self.repository._rejection_cache.ttl_seconds = 1.0 if request["memory"] else 0
        self.restart()

    def do_acquire(self, request):
        limits = request.get("limits")
        limiter = self.limiters[request.get("speculative", True)]
        out = {}
        local = self.repository._rejection_cache.local_rejections
        try:
            with limiter.acquire(request["entity"], request["resource"], request["consume"],
                                 limits=[Limit.from_dict(l) for l in limits] if limits else None,
                                 also=request.get("also") or None) as lease:
                out["bypassed"] = lease.bypassed
                out["steps"] = [self.step(lease, step) for step in request.get("steps") or []]
                out["consumed"] = dict(lease.consumed)
                out["overdrawn"] = sorted(lease.overdrawn)
                if request.get("fails"):
                    raise Given()
        except Given:
            out["fails"] = True
        except zae_limiter.RateLimitExceeded as error:
            error.from_memory = self.repository._rejection_cache.local_rejections > local
            raise
        return out

    def step(self, lease, step):
        CLOCK.ms += step.get("advance", 0)
        part = lease.resource(step["resource"]) if step.get("resource") else lease
        try:
            getattr(part, step["do"])(**step["amounts"])
        except zae_limiter.RateLimitExceeded as error:
            return describe(error)
        return None

    def do_available(self, request):
        a = self.limiters[True].check_availability(request["entity"], request["resource"], request["consume"])
        return {"bypassed": a.bypassed, "statuses": [
            {"limit": s.limit_name, "capacity": s.limit.capacity, "available": s.available, "requested": s.requested,
             "exceeded": s.exceeded, "retry_after_seconds": s.retry_after_seconds} for s in a.statuses]}

    def do_create_entity(self, request):
        self.repository.create_entity(request["entity"], parent_id=request.get("parent") or None,
                                      cascade=request.get("cascade", False), principal="operator")

    def do_delete_entity(self, request):
        self.repository.delete_entity(request["entity"], principal="operator")

    def do_set_parent(self, request):
        return self.repository.set_parent(request["entity"], request.get("parent") or None, principal="operator")

    def do_set_limits(self, request):
        r, limits = self.repository, [Limit.from_dict(l) for l in request["limits"]]
        if request.get("entity"):
            r.set_limits(request["entity"], limits, request["resource"], principal="operator")
        elif request.get("resource"):
            r.set_resource_defaults(request["resource"], limits, principal="operator")
        else:
            r.set_system_defaults(limits, principal="operator")

    def do_delete_limits(self, request):
        r = self.repository
        if request.get("entity"):
            self.limiters[True].delete_limits(request["entity"], request["resource"], principal="operator")
        elif request.get("resource"):
            r.delete_resource_defaults(request["resource"], principal="operator")
        else:
            r.delete_system_defaults(principal="operator")

    def do_set_flag(self, request):
        """value: null, false, true or "bypass"."""
        r, entity, resource, value = self.repository, request.get("entity"), request["resource"], request["value"]
        level = "entity" if entity else "resource"
        where = [entity] if entity else [resource]
        more = {"principal": "operator"}
        if entity:
            more["resource"] = None if resource == "_default_" else resource
        if request["flag"] == "cascade":
            name = "set" if value is not None else "clear"
            stamped = getattr(r, f"{name}_{level}_cascade")(*where, *([value] if value is not None else []), **more)
        else:
            verb = {None: "clear", False: "enable", True: "disable", "bypass": "bypass"}[value]
            stamped = getattr(r, f"{verb}_{level}" + ("_disabled" if value is None else ""))(*where, **more)
        return stamped

    def do_reset(self, request):
        return operation(self.repository.reset_bucket(request["entity"], request["resource"], request.get("names") or None,
                                                      principal="operator", idempotency_key=request.get("key") or None))

    def do_top_up(self, request):
        return operation(self.repository.top_up(request["entity"], request["resource"], request["consume"],
                                                principal="operator", idempotency_key=request.get("key") or None))


def operation(result):
    return {"shards": result.shards, "amounts": result.amounts}


def describe(error):
    out = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, zae_limiter.RateLimitExceeded):
        out["as_dict"] = error.as_dict()
        out["retry_after"] = error.retry_after_seconds
        out["header"] = error.retry_after_header
        if getattr(error, "from_memory", False):
            out["from_memory"] = True
    for field in ("entity_id", "resource", "level", "field"):
        if isinstance(getattr(error, field, None), str):
            out[field] = getattr(error, field)
    if getattr(error, "cause", None) is not None:
        out["cause"] = f"{type(error.cause).__name__}: {error.cause}"
    return out


def main():
    global DRAW
    peer = Peer(*sys.argv[1:4])
    print(json.dumps({"ready": zae_limiter.__version__}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        CLOCK.ms, DRAW = request["now_ms"], request["draw"]
        try:
            answer = {"result": getattr(peer, "do_" + request["do"])(request)}
        except Exception as error:  # noqa: BLE001 - every error is an answer
            answer = {"error": describe(error)}
        print(json.dumps({"id": request["id"], **answer}), flush=True)


if __name__ == "__main__":
    main()
