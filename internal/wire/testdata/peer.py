"""ZeroMQ sockets and Locust's own encoding for the Go tests.

Reads one JSON command a line from stdin and answers each with one JSON line: {"ok": ...} or
{"error": text}. Bytes are base64. Ends with its input.
"""

import base64
import hashlib
import json
import sys
import time

from locust.event import Events
from locust.rpc.protocol import Message
from locust.stats import (
    RequestStats,
    StatsError,
    calculate_response_time_percentile,
    setup_distributed_stats_event_listeners,
)

import zmq

context = zmq.Context()
sockets = {}


def unpack(text):
    return base64.b64decode(text)


def pack(data):
    return base64.b64encode(data).decode()


def with_int_keys(value):
    """JSON has no integers as keys: "int:5" stands for one."""
    if isinstance(value, dict):
        return {
            int(key[4:]) if key.startswith("int:") else key: with_int_keys(inner) for key, inner in value.items()
        }
    return [with_int_keys(inner) for inner in value] if isinstance(value, list) else value


def open_socket(name, type, identity="", options=None):
    socket = context.socket(getattr(zmq, type))
    socket.linger = 0
    socket.rcvtimeo = 30_000
    if identity:
        socket.setsockopt(zmq.IDENTITY, identity.encode())
    for option, value in (options or {}).items():
        socket.setsockopt(getattr(zmq, option), value)
    sockets[name] = socket


def bind(name, port=0):
    if port == 0:
        return sockets[name].bind_to_random_port("tcp://127.0.0.1")
    # The port of a socket that was just closed becomes free a moment later.
    for _ in range(200):
        try:
            sockets[name].bind(f"tcp://127.0.0.1:{port}")
            return port
        except zmq.ZMQError as error:
            if error.errno != zmq.EADDRINUSE:
                raise
            time.sleep(0.05)
    raise TimeoutError(f"port {port} stays in use")


def connect(name, address):
    sockets[name].connect(f"tcp://{address}")


def close(name):
    sockets.pop(name).close()


def send(name, frames):
    sockets[name].send_multipart([unpack(frame) for frame in frames])


def receive(name):
    return [pack(frame) for frame in sockets[name].recv_multipart()]


def send_big(name, size, to=""):
    """A custom message of that many bytes; answers with their digest."""
    data = bytes(i * 7 % 251 for i in range(1000)) * (size // 1000)
    frames = [Message("big", data, "w").serialize()]
    sockets[name].send_multipart(([to.encode()] if to else []) + frames)
    return hashlib.sha256(data).hexdigest()


def receive_big(name):
    """The digest of the data of a message, whose frame is the last one."""
    return hashlib.sha256(Message.unserialize(sockets[name].recv_multipart()[-1]).data).hexdigest()


def register_many(address, count):
    """That many workers register and await the answer; answers with their indexes, sorted."""
    workers = []
    for number in range(count):
        socket = context.socket(zmq.DEALER)
        socket.linger = 0
        socket.rcvtimeo = 30_000
        socket.setsockopt(zmq.IDENTITY, f"many_{number}".encode())
        socket.connect(f"tcp://{address}")
        socket.send(Message("client_ready", "2.47.0", f"many_{number}").serialize())
        workers.append(socket)
    indexes = sorted(Message.unserialize(socket.recv()).data["index"] for socket in workers)
    for socket in workers:
        socket.close()
    return indexes


def serve_many(name, count):
    """Answers that many registrations with an index."""
    for index in range(count):
        identity, payload = sockets[name].recv_multipart()
        message = Message.unserialize(payload)
        assert message.type == "client_ready" and message.node_id.encode() == identity, message
        sockets[name].send_multipart([identity, Message("ack", {"index": index}, message.node_id).serialize()])


def wait(seconds):
    time.sleep(seconds)


def encode(type, data, node_id):
    return pack(Message(type, with_int_keys(data), node_id).serialize())


def decode(payload):
    message = Message.unserialize(unpack(payload))
    return [message.type, repr(message.data), message.node_id]


def report(samples):
    """What a worker reports of samples (method, name, end, milliseconds or null, error or null)."""
    events, stats = Events(), RequestStats()
    real = time.time
    try:
        time.time = lambda: samples[0][2]
        stats.reset_all()
        stats.clear_all()
        setup_distributed_stats_event_listeners(events, stats)
        for method, name, end, milliseconds, error in samples:
            time.time = lambda end=end: end
            stats.log_request(method, name, milliseconds, 0)
            if error:
                stats.log_error(method, name, error)
        data = {}
        events.report_to_master.fire(client_id="w", data=data)
    finally:
        time.time = real
    data["user_classes_count"] = {"A": 1}
    data["user_count"] = 1
    return pack(Message("stats", data, "w").serialize())


def merge(reports):
    """What a master makes of reports: by name, [requests, failures, median, 50 %, 95 %, 99 %, min, max, mean]."""
    events, stats = Events(), RequestStats()
    setup_distributed_stats_event_listeners(events, stats)
    for payload in reports:
        events.worker_report.fire(client_id="w", data=Message.unserialize(unpack(payload)).data)
    return {
        entry.name: [
            entry.num_requests,
            entry.num_failures,
            entry.median_response_time,
            entry.get_response_time_percentile(0.5),
            entry.get_response_time_percentile(0.95),
            entry.get_response_time_percentile(0.99),
            entry.min_response_time,
            entry.max_response_time,
            entry.avg_response_time,
        ]
        for entry in [*stats.entries.values(), stats.total]
    }


def percentiles(histograms, shares):
    return [
        [
            calculate_response_time_percentile({key: n for key, n in histogram}, sum(n for _, n in histogram), share)
            for share in shares
        ]
        for histogram in histograms
    ]


def error_keys(texts):
    return [StatsError.create_key("GET", "/x", text) for text in texts]


COMMANDS = {
    function.__name__: function
    for function in [
        open_socket, bind, connect, close, send, receive, send_big, receive_big, register_many, serve_many,
        wait, encode, decode, report, merge, percentiles, error_keys,
    ]
}  # fmt: skip

for line in sys.stdin:
    command, arguments = json.loads(line)
    try:
        answer = {"ok": COMMANDS[command](**arguments)}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
