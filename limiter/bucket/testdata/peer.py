"""Answers cases of arithmetic with the Python library's own functions: a JSON list on standard input,
a JSON list of results in the same order on standard output."""

import json
import sys
from dataclasses import replace
from datetime import timedelta

from zae_limiter import bucket, bucket_ops, models, schedule, schema
from zae_limiter.limiter import RateLimiter
from zae_limiter.models import BucketState, Limit, QuotaSibling
from zae_limiter.repository import Repository
from zae_limiter.schedule import ScheduleEntry


def entries(given, reset):
    if reset:
        return tuple(ScheduleEntry.reset(e["cron"], e["tz"]) for e in given)
    return tuple(
        ScheduleEntry(
            cron=e["cron"],
            tz=e["tz"],
            scale=e.get("scale"),
            capacity=e.get("capacity"),
            refill_amount=e.get("refill_amount"),
            refill_period_seconds=e.get("refill_period"),
        )
        for e in given
    )


def on_schedule(case):
    sched = entries(case["entries"], False)
    text, tz = schedule.encode(sched)
    again = schedule.decode(text, tz)
    return {
        "text": text,
        "again": schedule.encode(again)[0],
        "at": [list(schedule.effective_params(*case["base"], sched, t)) for t in case["times"]],
        "decoded_at": [list(schedule.effective_params(*case["base"], again, t)) for t in case["times"]],
        "next": [schedule.next_boundary(sched, now_ms=t) for t in case["times"]],
    }


def on_resets(case):
    sched = entries(case["entries"], True)
    text, tz = schedule.encode_reset(sched)
    return {
        "text": text,
        "prev": [schedule.prev_reset_edge(sched, t) for t in case["times"]],
        "next": [schedule.next_reset_edge(sched, now_ms=t) for t in case["times"]],
        "boundary": [schedule.next_boundary((), sched, now_ms=t) for t in case["times"]],
        "cycle": min(schedule.cycle_seconds(schedule.parse_cron(e.cron, e.tz)) for e in sched),
    }


def on_decode(case):
    read = schedule.decode_reset if case["reset"] else schedule.decode
    return {"text": (schedule.encode_reset if case["reset"] else schedule.encode)(read(case["text"], "UTC"))[0]}


def limit_of(case):
    return Limit(
        name="x",
        capacity=case["capacity"],
        refill_amount=case["refill"],
        refill_period_seconds=case["period"],
        schedule=entries(case.get("schedule") or [], False),
        reset_schedule=entries(case.get("resets") or [], True),
        reset_after=timedelta(seconds=case["reset_after"]) if case.get("reset_after") else None,
    )


def state_of(case):
    return BucketState(
        entity_id="e",
        resource="r",
        limit_name="x",
        tokens_milli=case["tokens"],
        last_refill_ms=case["rf"],
        capacity_milli=case["capacity"] * 1000,
        refill_amount_milli=case["refill"] * 1000,
        refill_period_ms=case["period"] * 1000,
        total_consumed_milli=case.get("consumed"),
        shard_count=case["shards"],
        sched=entries(case.get("schedule") or [], False),
        reset_sched=entries(case.get("resets") or [], True),
        window_start_ms=case.get("ws"),
        reset_after_seconds=case.get("reset_after"),
        window_applied_ms=case.get("wa"),
        window_consumed_mark_milli=case.get("wtc"),
        grant_count=case.get("gc"),
        topped_up_milli=case.get("tu"),
        soft=case["soft"],
        bypass=case["bypass"],
    )


def on_state(case):
    now, n = case["now"], case["n"]
    limit = limit_of(case)
    state = state_of(case)
    tried = bucket.try_consume(state, n, now)
    forced = bucket.force_consume(state, n, now)
    share = Limit.from_bucket_state(state).per_shard(state.report_shard_count, now, state.report_top_up_milli)
    satisfied, statuses = bucket.would_refill_satisfy([state], {"x": n}, now)

    done = replace(state)
    opened = RateLimiter._open_window_if_elapsed(limit, done, now) is not None
    reset = RateLimiter._apply_reset_edge(limit, done, now)
    rolled = RateLimiter._apply_window_roll(limit, done, now, opened=opened)
    tokens, rf = bucket.force_consume(done, 0, now)
    boundary, _ = RateLimiter._materialisation_stamps(limit, done, now)

    quota = limit.is_quota
    fresh = BucketState.from_limit("e", "r", limit, now, shard_count=case["shards"])
    return {
        "ceiling": state.ceiling_milli(now),
        "target": state.reset_target_milli(now),
        "params": list(state._scheduled_params(now)),
        "tried": [tried.success, tried.new_tokens_milli, tried.new_last_refill_ms, tried.available, tried.retry_after_seconds],
        "forced": list(forced),
        "available": bucket.calculate_available(state, now),
        "until": bucket.calculate_time_until_available(state, n, now),
        "share": [share.capacity, share.refill_amount, share.refill_period_seconds],
        "satisfied": [satisfied, statuses[0].available, statuses[0].retry_after_seconds],
        "passed": [opened, reset, rolled],
        "done": [tokens, rf, done.grant_count, done.topped_up_milli, done.window_start_ms, done.window_applied_ms],
        "boundary": boundary,
        "readable": RateLimiter._readable_balance(state, limit, now),
        "current": models.quota_grant_is_current(limit, state.last_refill_ms, state.window_start_ms, state.window_applied_ms, now) if quota else None,
        "ttl": schema.calculate_bucket_ttl_seconds([limit], case["multiplier"]),
        "fresh": [fresh.tokens_milli, fresh.grant_count, fresh.window_start_ms],
    }


def on_refill(case):
    done = bucket.refill_bucket(*case["args"])
    return {"done": [done.new_tokens_milli, done.new_last_refill_ms]}


def on_grant(case):
    siblings = [QuotaSibling(*s) for s in case["siblings"]]
    grant = models.plan_quota_grant(siblings, case["shard"], case["shards"], case["share"])
    return {"grant": [grant.donor_shard, grant.tokens_milli, grant.donor_grant_count]}


def on_infer(case):
    item = {
        "shard_count": {"N": str(case["shards"])},
        "b_x_tk": {"N": str(case["tokens"])},
        "b_x_cp": {"N": str(case["capacity"])},
        "b_x_ra": {"N": "0"},
        "b_x_rp": {"N": "1000"},
        "b_x_rsa": {"N": "60"},
    }
    return {"grants": Repository._legacy_quota_sizes(0, item, set(), 0)[0][1]}


def on_split(case):
    by = {int(k): v for k, v in case["by"].items()}
    split = bucket_ops.split_weighted if case["weighted"] else bucket_ops.split_by_headroom
    return {"portions": {str(k): v for k, v in split(case["total"], by).items()}}


def answer(case):
    try:
        return globals()["on_" + case["kind"]](case)
    except ValueError as error:
        return {"error": str(error)}


json.dump([answer(case) for case in json.load(sys.stdin)], sys.stdout)
