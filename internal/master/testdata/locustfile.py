"""Users whose numbers are known: what they do is counted here and written to COUNTS."""

import atexit
import datetime
import json
import logging
import os
import time

from locust import User, constant, events, tag, task

counts = {"requests": 0, "failures": 0, "untimed": 0, "raised": 0, "started": {}, "stopped": {}, "length": 0, "sum": 0.0}
seen = {"options": {}, "tasks": {}, "messages": [], "test_start": 0, "test_stop": 0}


def write():
    folder = os.environ.get("COUNTS")
    if folder:
        path = os.path.join(folder, "%d.json" % os.getpid())
        with open(path + ".new", "w") as f:
            json.dump({"counts": counts, "seen": seen}, f)
        os.replace(path + ".new", path)


atexit.register(write)


@events.init_command_line_parser.add_listener
def options(parser):
    parser.add_argument("--color", default="red")
    parser.add_argument("--level", type=int, default=1)


@events.test_start.add_listener
def on_test_start(environment, **_):
    seen["test_start"] += 1
    seen["options"] = {"color": environment.parsed_options.color, "level": environment.parsed_options.level}
    logging.getLogger("locustfile").info("the test has begun")


@events.test_stop.add_listener
def on_test_stop(**_):
    seen["test_stop"] += 1
    write()


@events.init.add_listener
def on_init(environment, **_):
    def echo(environment, msg, **kwargs):
        seen["messages"].append(repr(msg.data))
        environment.runner.send_message("pong", {"got": msg.data, "at": datetime.datetime(2026, 8, 22, 1, 2, 3, 456)})

    environment.runner.register_message("ping", echo)


class Counted(User):
    abstract = True
    wait_time = constant(0.1)

    def on_start(self):
        name = type(self).__name__
        counts["started"][name] = counts["started"].get(name, 0) + 1

    def on_stop(self):
        name = type(self).__name__
        counts["stopped"][name] = counts["stopped"].get(name, 0) + 1

    def fire(self, name, response_time, exception=None, length=10):
        counts["requests"] += 1
        counts["length"] += length
        counts["sum"] += response_time or 0
        if response_time is None:
            counts["untimed"] += 1
        if exception is not None:
            counts["failures"] += 1
        self.environment.events.request.fire(
            request_type="CALL", name=name, response_time=response_time, response_length=length, exception=exception, context={}
        )

    def note(self, name):
        seen["tasks"][name] = seen["tasks"].get(name, 0) + 1


class A(Counted):
    weight = 3

    @tag("fast")
    @task
    def quick(self):
        self.note("quick")
        self.fire("/quick", 12.3)

    @tag("slow")
    @task
    def sleepy(self):
        self.note("sleepy")
        time.sleep(float(os.environ.get("SLEEPY", "0.05")))
        self.fire("/sleepy", 147)


class B(Counted):
    weight = 1

    @task
    def odd(self):
        self.note("odd")
        self.fire("/nil", None)
        self.fire("/failing", 5, ValueError("boom"))

    @task
    def raising(self):
        self.note("raising")
        counts["raised"] += 1
        raise RuntimeError("uncaught")
