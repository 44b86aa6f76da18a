"""Stands beside a locustfile in a process of Locust that runs none of its users, only the test_start
and test_stop listeners: those that a file keeps from workers."""

from locust import User, constant, events, task


@events.init.add_listener
def without_shape(environment, **kwargs):
    environment.shape_class = None


class ZaeLimiterListeners(User):
    wait_time = constant(3600)

    def on_start(self):
        print("zae-limiter: test_start is over", flush=True)

    @task
    def idle(self):
        pass
