"""The peers' side of the comparison: upstream's max_rps class over a fixed set of entities.

Environment: TABLE, AWS_ENDPOINT_URL_DYNAMODB, ENTITIES (default 4096), SPECULATIVE (1 or 0).
"""

import itertools
import os
import random

from locust import constant, task
from zae_limiter import SyncRateLimiter, SyncRepository
from zae_limiter import locust as zl

ENTITIES = int(os.environ.get("ENTITIES", "4096"))
SPECULATIVE = os.environ.get("SPECULATIVE", "1") == "1"

zl._configure_boto3_pool()
repository = SyncRepository.open(
    stack=os.environ["TABLE"], region="us-east-1", namespace="default", auto_update=False
)
zl.RateLimiterUser._limiter = SyncRateLimiter(
    repository=repository, speculative_writes=SPECULATIVE
)

_starts = itertools.count()


class MaxRpsUser(zl.RateLimiterUser):
    stack_name = os.environ["TABLE"]
    wait_time = constant(0)

    def on_start(self):
        self.order = random.Random(next(_starts))

    @task
    def acquire(self):
        entity = "bench-%04d" % self.order.randrange(ENTITIES)
        with self.client.acquire(entity_id=entity, resource="api", consume={"rpm": 1}):
            pass
