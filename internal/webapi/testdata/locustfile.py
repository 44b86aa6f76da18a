"""What the in-memory controller of the tests does, in Locust."""

from locust import TaskSet, User, constant, events, task


@events.init_command_line_parser.add_listener
def options(parser):
    parser.add_argument("--region", default="us-east-1", help="where it runs")
    parser.add_argument("--api-key", default="s3cret", is_secret=True)


class My_user(User):
    weight = 3
    host = "embedded"
    wait_time = constant(0.1)

    def fire(self, **fields):
        self.environment.events.request.fire(response_length=0, context={}, **fields)

    @task(3)
    def get_a(self):
        self.fire(request_type="ACQUIRE", name="api", response_time=12.4, exception=None)
        self.fire(request_type="ACQUIRE", name="api", response_time=12.4, exception=ValueError("slow down"))
        self.fire(request_type="RATE_LIMITED", name="api", response_time=0.4, exception=None)

    @task(1)
    def post_b(self):
        raise RuntimeError("boom")


class SimpleUser(User):
    host = "embedded"
    wait_time = constant(0.1)

    @task
    def acquire(self):
        pass

    @task
    class Sub(TaskSet):
        @task
        def inner_one(self):
            self.interrupt()
