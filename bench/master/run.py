"""What a master costs and how soon it acts: ours and Locust's in one run, on two cores.

Processor time is what counts: a master that shares its core with something else (the column
"queued") still uses the same time for each worker, only its answers come late.
"""

import argparse
import json
import os
import re
import resource
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLES = os.path.join(HERE, "..", "..", "examples", "locust")
FULL = 90  # percent of a core that a master may use
PARTS = ("capacity", "start", "cluster", "relay")


def main():
    options = parse_arguments()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    options.files = hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"load average {os.getloadavg()[0]:.1f}; a process may have {hard} open files", flush=True)
    for part in options.only or PARTS:
        globals()["part_" + part](options)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, help="our zae-limiter")
    parser.add_argument("--simulator", required=True, help="the simulated workers (bench/master)")
    parser.add_argument("--locust", required=True, help="locust of the virtual environment")
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--quick", action="store_true", help="one load for each master, scaled")
    return parser.parse_args()


class Child:
    """A process, pinned to a core unless that is None, with its output in a file."""

    def __init__(self, core, *command, env=None):
        self.out = tempfile.TemporaryFile("w+")
        pinned = ["taskset", "-c", str(core)] if core is not None else []
        self.started = time.monotonic()
        self.process = subprocess.Popen([*pinned, *command], stdout=self.out, stderr=self.out, stdin=subprocess.DEVNULL,
                                        env={**os.environ, **(env or {})}, cwd=tempfile.gettempdir())
        self.usage = None

    def text(self):
        self.out.flush()
        with open(f"/proc/self/fd/{self.out.fileno()}", encoding="utf-8", errors="replace") as file:
            return file.read()

    def find(self, pattern, within=30):
        end = time.monotonic() + within
        while time.monotonic() < end:
            found = re.search(pattern, self.text())
            if found:
                return found.group(1)
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise SystemExit(f"{pattern} is not in what {self.process.args} says:\n{self.text()[-3000:]}")

    def wait(self):
        """Waits for the end and keeps the processor seconds."""
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.usage = usage.ru_utime + usage.ru_stime
        return self.process.returncode

    def end(self, sign=signal.SIGINT, within=15):
        if self.process.poll() is None:
            self.process.send_signal(sign)
            try:
                self.process.wait(timeout=within)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.out.close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def our_master(options, core, *extra):
    bind, web = free_port(), free_port()
    child = Child(core, options.binary, "load", "master", "-f", os.path.join(HERE, "simulated.star"), "--bind", f"127.0.0.1:{bind}",
                  "--web-port", str(web), "-L", "ERROR", *extra)
    return child, bind, web


def locust_master(options, core):
    bind, web = free_port(), free_port()
    child = Child(core, options.locust, "--master", "-f", os.path.join(HERE, "locustfile.py"), "--master-bind-host", "127.0.0.1",
                  "--master-bind-port", str(bind), "--web-host", "127.0.0.1", "--web-port", str(web), "-L", "ERROR")
    return child, bind, web


def await_web(child, web, path="/", within=30):
    """Returns the seconds from the start of a process until its page is there."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", web), timeout=5) as s:
                s.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost:{web}\r\n\r\n".encode())
                if b" 200 " in s.recv(64):
                    return time.monotonic() - child.started
        except OSError:
            pass
        if child.process.poll() is not None:
            break
        time.sleep(0.001)
    raise SystemExit(f"no page from {child.process.args}:\n{child.text()[-3000:]}")


# How many workers one core serves.

def part_capacity(options):
    masters = [
        ("our master, Locust's workers", our_master, "locust", 4000),
        ("our master, our workers", our_master, "own", 5000),
        ("Locust's master, Locust's workers", locust_master, "locust", 1000),
    ]
    print(f"\n{'workers at one report a second, 10 rows x 60 times':<52} {'CPU':>6} {'queued':>7} {'simulator':>9} "
          f"{'answer p99':>10} {'/stats p50':>10} {'a worker':>9} {'join+ramp+stop':>14}")
    for name, start, kind, first in masters:
        points = [load(options, name, start, kind, first)]
        # Loaded as far as it goes: more open files or more processor is not there.
        most = options.files - 200
        second = min(int(first * 0.85 * FULL / points[0]["master_cpu_percent"]), most)
        if not options.quick and second > first * 1.2:
            points.append(load(options, name, start, kind, second))
        print_capacity(name, points, most)


def load(options, name, start, kind, workers):
    master, bind, web = start(options, 1)
    try:
        await_web(master, web)
        text = subprocess.run(
            ["taskset", "-c", "0", options.simulator, "-master", f"127.0.0.1:{bind}", "-web", f"http://127.0.0.1:{web}",
             "-master-pid", str(master.process.pid), "-kind", kind, "-workers", str(workers)],
            stdout=subprocess.PIPE, text=True, check=False)
        if text.returncode != 0:
            raise SystemExit(f"{name}: the simulator failed; the master says:\n{master.text()[-2000:]}")
    finally:
        master.end()
    r = json.loads(text.stdout)
    print(f"{name + ':':<40} {workers:>11,} {r['master_cpu_percent']:>5.1f}% {r['master_queued_percent']:>6.1f}% {r['simulator_cpu_percent']:>8.1f}% "
          f"{r['heartbeat_p99_ms']:>7.0f} ms {r['stats_requests_p50_ms']:>7.1f} ms {r['master_bytes_per_worker'] / 1000:>6.1f} KB "
          f"{r['join_seconds'] + r['ramp_seconds'] + r['stop_seconds']:>12.2f} s", flush=True)
    if r["requests_counted"] != r["requests_sent"]:
        print(f"  {r['requests_sent']:,} requests sent, {r['requests_counted']:,} counted")
    if r["report_ratio"] < 0.98:
        print(f"  the simulator sent only {100 * r['report_ratio']:.0f} % of the reports that were due")
    return r


def print_capacity(name, points, most):
    last = points[-1]
    each = last["master_cpu_percent"] / last["workers"]
    if len(points) > 1:
        grown = last["workers"] - points[0]["workers"]
        each = max((last["master_cpu_percent"] - points[0]["master_cpu_percent"]) / grown, each / 2)
    workers = last["workers"] + (FULL - last["master_cpu_percent"]) / each
    how = "measured close to it" if abs(FULL - last["master_cpu_percent"]) < 10 else "EXTRAPOLATED LINEARLY"
    if last["master_queued_percent"] > 20:
        how += ", the core was shared"
    if workers > most:
        how += f"; no more than {most:,} were possible with the open files allowed here"
    print(f"  => {name}: {workers:,.0f} workers at {FULL} % of a core ({how})", flush=True)


# How soon a process is there.

def part_start(options, rounds=7):
    print()
    for name, start in (("our master", our_master), ("Locust's master", locust_master)):
        times = []
        for _ in range(rounds):
            master, _, web = start(options, None)
            try:
                times.append(await_web(master, web))
            finally:
                master.end()
        print_times(f"{name}: page after start", times)
    commands = {
        "our worker": lambda port: [options.binary, "load", "worker", "-f", os.path.join(HERE, "simulated.star"), "--master", f"127.0.0.1:{port}"],
        "Locust's worker": lambda port: [options.locust, "--worker", "-f", os.path.join(HERE, "locustfile.py"), "--master-host", "127.0.0.1",
                                         "--master-port", str(port)],
    }
    for name, command in commands.items():
        print_times(f"{name}: ready after start", [ready_after(command) for _ in range(rounds)])


def print_times(name, seconds):
    print(f"{name:<40} median {1000 * statistics.median(seconds):>6.1f} ms, best {1000 * min(seconds):>6.1f} ms", flush=True)


def ready_after(command):
    """The seconds from the start of a worker until it registers, at a master that is there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        child = Child(None, *command(server.getsockname()[1]))
        try:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(20)
                connection.sendall(b"\xff" + bytes(7) + b"\x01\x7f\x03\x01NULL" + bytes(48))
                connection.sendall(b"\x04\x29\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER\x08Identity\x00\x00\x00\x00")
                received = b""
                while b"client_ready" not in received:
                    more = connection.recv(4096)
                    if not more:
                        raise SystemExit(f"the worker left:\n{child.text()}")
                    received += more
                return time.monotonic() - child.started
        finally:
            child.end(signal.SIGKILL)


# Workers that come, go and die.

def part_cluster(options):
    print()
    master, bind, web = our_master(options, None)
    try:
        await_web(master, web)
        text = subprocess.run(
            [options.simulator, "-master", f"127.0.0.1:{bind}", "-web", f"http://127.0.0.1:{web}", "-master-pid", str(master.process.pid),
             "-kind", "own", "-workers", "1000", "-settle", "0s", "-duration", "1s"], stdout=subprocess.PIPE, text=True, check=True).stdout
    finally:
        master.end()
    r = json.loads(text)
    print(f"1,000 workers: {r['join_seconds']:.2f} s to join, {r['ramp_seconds']:.2f} s to ramp, {r['stop_seconds']:.2f} s to stop", flush=True)
    for what, sign in (("killed", signal.SIGKILL), ("frozen", signal.SIGSTOP)):
        known, moved = lose_worker(options, sign)
        print(f"a worker is {what}: known {known:.2f} s later, its users run elsewhere {moved:.2f} s after that", flush=True)


def lose_worker(options, sign, users=30):
    master, bind, web = our_master(options, None, "--enable-rebalancing")
    workers = [Child(None, options.binary, "load", "worker", "-f", os.path.join(HERE, "waiting.star"), "--master", f"127.0.0.1:{bind}", "--cores", "1")
               for _ in range(3)]
    try:
        await_web(master, web)
        until(web, lambda s: len(s["workers"]) == 3)
        form = f"user_count={users}&spawn_rate=1000".encode()
        urllib.request.urlopen(f"http://127.0.0.1:{web}/swarm", form, timeout=10).read()
        until(web, lambda s: s["state"] == "running" and s["user_count"] == users)
        workers[0].process.send_signal(sign)
        start = time.monotonic()
        until(web, lambda s: s["worker_count"] == 2)
        known = time.monotonic() - start
        until(web, lambda s: s["worker_count"] == 2 and s["user_count"] == users)
        return known, time.monotonic() - start - known
    finally:
        for worker in workers:
            worker.end(signal.SIGKILL)
        master.end()


def until(web, condition, within=30):
    end = time.monotonic() + within
    while time.monotonic() < end:
        with urllib.request.urlopen(f"http://127.0.0.1:{web}/stats/requests", timeout=10) as answer:
            state = json.load(answer)
        if condition(state):
            return
        time.sleep(0.01)
    raise SystemExit(f"waited {within} s in vain; the master says {json.dumps(state)[:1000]}")


# What a master adds to the cost of a request.

def part_relay(options, rounds=8, seconds=5):
    engine = Child(1, options.binary, "local", "--port", "0")
    rounds_of_both = []
    try:
        endpoint = engine.find(r"(http://127\.0\.0\.1:\d+)")
        # A round of each first, so that the table is there and the engine is warm; then in turns.
        for i in range(rounds + 1):
            pair = [cost(options, endpoint, seconds) for cost in (CONTENDERS if i % 2 else CONTENDERS[::-1])]
            if i > 0:
                rounds_of_both.append(pair if i % 2 else pair[::-1])
    finally:
        engine.end()
    alone, under = zip(*rounds_of_both)
    added = [100 * (b / a - 1) for a, b in rounds_of_both]
    print(f"\nan acquire on one core: {statistics.median(alone):.1f} us CPU alone, {statistics.median(under):.1f} us on a worker of a master; "
          f"it adds {statistics.median(added):+.1f} % (median of {rounds} pairs, from {min(added):+.1f} to {max(added):+.1f} %)", flush=True)


def run_options(endpoint, seconds):
    return ["-C", EXAMPLES, "-f", "locustfiles/max_rps.star", "MaxRpsUser", "--endpoint-url", endpoint, "--table", "relay", "--create-table",
            "--users", "10", "--spawn-rate", "1000", "--run-time", str(seconds), "--json"]


def requests_of(text):
    """The number of calls in the result document within the output of a process."""
    result = json.loads(text[text.index('{\n  "schema"'):text.rindex("}") + 1])
    if result["totals"]["failures"]:
        raise SystemExit("the run had failures: " + json.dumps(result["errors"]))
    return result["totals"]["requests"]


def cost_alone(options, endpoint, seconds):
    child = Child(0, options.binary, "load", "benchmark", *run_options(endpoint, seconds))
    child.wait()
    return child.usage / requests_of(child.text()) * 1e6


def cost_under_master(options, endpoint, seconds):
    bind = free_port()
    master = Child(1, options.binary, "load", "master", "--headless", "--bind", f"127.0.0.1:{bind}", *run_options(endpoint, seconds))
    worker = Child(0, options.binary, "load", "worker", "-C", EXAMPLES, "-f", "locustfiles/max_rps.star", "--master", f"127.0.0.1:{bind}")
    worker.wait()
    master.wait()
    return worker.usage / requests_of(master.text()) * 1e6


CONTENDERS = [cost_alone, cost_under_master]

if __name__ == "__main__":
    begun = time.monotonic()
    main()
    print(f"\ntook {time.monotonic() - begun:.0f} s; load average {os.getloadavg()[0]:.1f}")
