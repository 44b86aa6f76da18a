"""A locustfile in the manner of those that come with Python's limiter."""

import os
import uuid

from locust import constant, events, task
from locust.runners import WorkerRunner
from zae_limiter import Limit, SyncRateLimiter
from zae_limiter.locust import RateLimiterUser

created = set()


def limiter():
    return SyncRateLimiter(name=os.environ["TARGET_STACK_NAME"], region=os.environ["TARGET_REGION"])


@events.test_start.add_listener
def on_test_start(environment, **kwargs):
    if not isinstance(environment.runner, WorkerRunner):
        limiter().set_system_defaults(limits=[Limit.per_minute("rpm", 1_000_000_000)])
        print("defaults are set", flush=True)


@events.test_stop.add_listener
def on_test_stop(environment, **kwargs):
    for entity in created:
        limiter().delete_entity(entity)
    print("test_stop in", type(environment.runner).__name__, flush=True)


class Plain(RateLimiterUser):
    wait_time = constant(0.01)

    def on_start(self):
        self.entity = f"user-{uuid.uuid4().hex[:8]}"
        created.add(self.entity)

    @task
    def acquire(self):
        with self.client.acquire(entity_id=self.entity, resource="api", consume={"rpm": 1}):
            pass


class Other(Plain):
    weight = 3

    @task
    def adjust(self):
        with self.client.acquire(entity_id=self.entity, resource="other", consume={"rpm": 1}) as lease:
            lease.adjust(rpm=1)
