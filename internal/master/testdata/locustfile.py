"""Users whose numbers are known: what they do is counted here and written to COUNTS."""

import atexit
import json
import os
import time

from locust import User, constant, task

counts = {"requests": 0, "failures": 0, "untimed": 0, "raised": 0}


@atexit.register
def write():
    folder = os.environ.get("COUNTS")
    if folder:
        with open(os.path.join(folder, "%d.json" % os.getpid()), "w") as f:
            json.dump(counts, f)


class Counted(User):
    abstract = True
    wait_time = constant(0.1)

    def fire(self, name, response_time, exception=None, length=10):
        counts["requests"] += 1
        if response_time is None:
            counts["untimed"] += 1
        if exception is not None:
            counts["failures"] += 1
        self.environment.events.request.fire(
            request_type="CALL", name=name, response_time=response_time, response_length=length, exception=exception, context={}
        )


class A(Counted):
    weight = 3

    @task
    def quick(self):
        self.fire("/quick", 12.3)

    @task
    def sleepy(self):
        time.sleep(0.05)
        self.fire("/sleepy", 147)


class B(Counted):
    weight = 1

    @task
    def odd(self):
        self.fire("/nil", None)
        self.fire("/failing", 5, ValueError("boom"))

    @task
    def raising(self):
        counts["raised"] += 1
        raise RuntimeError("uncaught")
