"""What every locustfile of these tests begins with: what passes the sockets is written to TRACE, one
JSON object a line, what users did is counted and written to COUNTS, and a master writes its ports to
PORTS."""

import atexit
import datetime
import json
import logging
import os
import time

import gevent
import locust.runners
from locust import User, constant, events, tag, task
from locust.rpc import zmqrpc

if "CONNECT_TIMEOUT" in os.environ:
    locust.runners.CONNECT_TIMEOUT = float(os.environ["CONNECT_TIMEOUT"])
if "LOG_EVERY" in os.environ:
    locust.runners.WORKER_LOG_REPORT_INTERVAL = float(os.environ["LOG_EVERY"])

_trace = open(os.environ["TRACE"], "a", buffering=1)


def _note(direction, msg):
    entry = {"at": time.time(), "dir": direction, "type": msg.type, "data": msg.data, "node": msg.node_id}
    _trace.write(json.dumps(entry, default=repr) + "\n")


def _patch():
    base = zmqrpc.BaseSocket
    send, send_to, receive, receive_from = base.send, base.send_to_client, base.recv, base.recv_from_client

    def traced_send(self, msg):
        _note("out", msg)
        return send(self, msg)

    def traced_send_to(self, msg):
        _note("out", msg)
        return send_to(self, msg)

    def traced_receive(self):
        msg = receive(self)
        _note("in", msg)
        return msg

    def traced_receive_from(self):
        addr, msg = receive_from(self)
        _note("in", msg)
        return addr, msg

    base.send, base.send_to_client, base.recv, base.recv_from_client = (
        traced_send, traced_send_to, traced_receive, traced_receive_from)


_patch()

counts = {"requests": 0, "failures": 0, "untimed": 0, "raised": 0, "length": 0, "sum": 0.0,
          "tasks": {}, "begun": 0, "ended": 0, "starts": {}, "stops": {}}


def write_counts():
    with open(os.environ["COUNTS"] + ".new", "w") as f:
        json.dump(counts, f)
    os.replace(os.environ["COUNTS"] + ".new", os.environ["COUNTS"])


atexit.register(write_counts)


@events.init.add_listener
def _tell_ports(environment, runner, web_ui, **_):
    if "PORTS" not in os.environ:
        return

    def tell():
        while web_ui is not None and not (getattr(web_ui, "server", None) and web_ui.server.started):
            gevent.sleep(0.02)
        ports = {"workers": runner.server.port, "web": web_ui.server.server_port if web_ui else 0}
        with open(os.environ["PORTS"] + ".new", "w") as f:
            json.dump(ports, f)
        os.replace(os.environ["PORTS"] + ".new", os.environ["PORTS"])

    gevent.spawn(tell)


class Counted(User):
    abstract = True
    wait_time = constant(0.1)

    def on_start(self):
        name = type(self).__name__
        counts["starts"][name] = counts["starts"].get(name, 0) + 1

    def on_stop(self):
        name = type(self).__name__
        counts["stops"][name] = counts["stops"].get(name, 0) + 1

    def did(self, name):
        counts["tasks"][name] = counts["tasks"].get(name, 0) + 1

    def fire(self, name, response_time, exception=None, length=10):
        counts["requests"] += 1
        counts["length"] += length
        counts["sum"] += response_time or 0
        counts["untimed"] += response_time is None
        counts["failures"] += exception is not None
        self.environment.events.request.fire(
            request_type="CALL", name=name, response_time=response_time, response_length=length,
            exception=exception, context={})

