"""One Python process of the mixed load: makes acquires until its time is over and prints what it was told.

Each line is [from ms, until ms, entity, resource, {limit: tokens}, corrects]: when something was charged, or given back
(negative), and whether that was a correction, which is not tested. The last line is {"made", "refused", "contended"}.
"""

import json
import random
import sys
import time

order = json.loads(sys.argv[1])
clock = time.time
time.time = lambda: clock() + order["ahead_ms"] / 1000

import zae_limiter  # noqa: E402
from zae_limiter import SyncRateLimiter, SyncRepository  # noqa: E402

draw = random.Random(order["seed"])


class Failed(Exception):
    pass


def now():
    return int(time.time() * 1000)


def told(since, entity, resource, amounts, sign=1, corrects=False):
    print(json.dumps([since, now(), entity, resource, {k: sign * v for k, v in amounts.items() if v}, corrects]), flush=False)


def main():
    repository = SyncRepository.open(order["namespace"], stack=order["table"], region="us-east-1",
                                     endpoint_url=order["endpoint"], parallel_mode="serial", auto_update=False)
    limiter = SyncRateLimiter(repository=repository)
    print(json.dumps("ready"), flush=True)
    sys.stdin.readline()
    end = time.monotonic() + order["seconds"]
    made = refused = contended = 0
    while time.monotonic() < end:
        made += 1
        entity = draw.choice(order["entities"])
        resource, consume = "drip", {"rate": draw.randint(1, 5)}
        if draw.random() < 0.5:
            resource, consume = "quota", {draw.choice(["even", "odd", "session"]): draw.randint(1, 5)}
        corrects = draw.random()
        since = now()
        try:
            with limiter.acquire(entity, resource, consume) as lease:
                told(since, entity, resource, consume)
                if resource == "drip" and corrects < 0.1:
                    raise Failed()
                correction = draw.randint(-consume["rate"], 3) if resource == "drip" and corrects < 0.4 else 0
                if correction:
                    lease.adjust(rate=correction)
                since = now()
            if correction:
                told(since, entity, resource, {"rate": correction}, 1, True)
        except Failed:
            told(since, entity, resource, consume, -1, True)
        except zae_limiter.RateLimitExceeded as error:
            refused += 1
            contended += error.contended
            time.sleep(min(error.retry_after_seconds, 0.01))
    print(json.dumps({"made": made, "refused": refused, "contended": contended}), flush=True)


main()
