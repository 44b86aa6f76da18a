"""One job for zae-limiter of Python, from standard input; the answer is JSON on standard output."""

import json
import sys

answer, sys.stdout = sys.stdout, sys.stderr  # where the aggregator logs


class Clock:
    """The time of a job, where the aggregator looks for it."""

    def __init__(self, now_ms):
        self.now_ms = now_ms

    def time(self):
        return self.now_ms / 1000

    def perf_counter(self):
        return 0.0


def process(job):
    from zae_limiter_aggregator import processor
    from zae_limiter_aggregator.processor import process_stream_records

    if "now" in job:
        processor.time_module = Clock(job["now"])
    result = process_stream_records(records=job["records"], table_name=job["table"], windows=job["windows"])
    return {"errors": result.errors, "snapshots": result.snapshots_updated, "refills": result.refills_written}


def acquire(job):
    from zae_limiter import SyncRateLimiter, SyncRepository

    repository = SyncRepository.open("default", stack=job["table"], region="us-east-1", endpoint_url=job["endpoint"], auto_update=False)
    limiter = SyncRateLimiter(repository)
    consumed = 0
    for _ in range(job["times"]):
        with limiter.acquire(job["entity"], "api", job["consume"]):
            consumed += 1
    usage, _ = limiter.get_usage_snapshots(entity_id=job["entity"], limit=100)
    return {
        "consumed": consumed,
        "usage": {f"{s.window_type} {s.window_start}": {"counters": s.counters, "events": s.total_events} for s in usage},
    }


print(json.dumps({"process": process, "acquire": acquire}[(job := json.load(sys.stdin))["do"]](job), default=str), file=answer)
