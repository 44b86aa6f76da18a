"""The peers' side of first.star."""

import os

from locust import constant, task
from zae_limiter import SyncRateLimiter, SyncRepository
from zae_limiter import locust as zl

repository = SyncRepository.open(
    stack=os.environ["TABLE"], region="us-east-1", namespace="default", auto_update=False
)
zl.RateLimiterUser._limiter = SyncRateLimiter(repository=repository)


class FirstUser(zl.RateLimiterUser):
    stack_name = os.environ["TABLE"]
    wait_time = constant(0)

    @task
    def acquire(self):
        with self.client.acquire(entity_id="bench-0001", resource="api", consume={"rpm": 1}):
            pass
        print("first acquire", flush=True)
        self.environment.runner.quit()
