"""The tables of the Python tool's load-testing guide, measured on this machine.

`modes` runs within `zae-limiter local aws`; `capacity` starts an engine of its own, on another core than the
users where there is one.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile

FILES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "locust")
STACK = ["--name", "seed", "--region", "us-east-1"]
# One vCPU of a function, one vCPU of a task, as in the guide.
MODES = {
    "Lambda standalone": ["--mode", "lambda"],
    "Distributed (1 Lambda)": ["--mode", "distributed", "--workers", "1", "--port", "0"],
    "Fargate standalone": ["--mode", "fargate", "--port", "0"],
}
LATENCY = ["--latency", "aws", "--network", "1.2ms"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["modes", "capacity"])
    parser.add_argument("--seconds", type=int, default=60, help="length of each run")
    options = parser.parse_args()
    print(f"\nload average before: {os.getloadavg()[0]:.1f}, cores: {os.cpu_count()}, seconds a run: {options.seconds}", flush=True)
    {"modes": modes, "capacity": capacity}[options.part](options.seconds)


def modes(seconds):
    """Runtime comparison: three modes, ten users."""
    quietly("deploy", *STACK, "--no-aggregator")
    quietly("load", "deploy", *STACK, "--vpc-id", "vpc-local", "--subnet-ids", "subnet-a,subnet-b", "-C", FILES, "--capacity-provider", "FARGATE")
    for file, user in (("max_rps", "MaxRpsUser"), ("simple", "SimpleUser")):
        runs = {}
        for mode, arguments in MODES.items():
            runs[mode] = document("load", "benchmark", *STACK, *arguments, "-f", f"locustfiles/{file}.py", user, "--users", "10", "--duration", str(seconds))
        title(f"{file}, 10 users, {seconds} s")
        table(["Metric", *runs], [[name, *(value(run) for run in runs.values())] for name, value in METRICS.items()])
        operations(file, runs["Fargate standalone"])


METRICS = {
    "Requests": lambda run: f"{run['totals']['requests']:,}",
    "RPS": lambda run: f"{run['totals']['rps']:,.1f}",
    "p50": lambda run: milliseconds(run["totals"]["p50_ms"]),
    "p95": lambda run: milliseconds(run["totals"]["p95_ms"]),
    "p99": lambda run: milliseconds(run["totals"]["p99_ms"]),
    "Failures": lambda run: str(run["totals"]["failures"]),
    "Verdict": lambda run: run["verdict"]["state"],
}


def operations(file, run):
    """What the table was asked: timed at the client's transport, and by the table itself."""
    server = {series["dimensions"].get("Operation"): series["points"] for series in run["aws"]["series"] if series["metric"] == "SuccessfulRequestLatency"}
    rows = []
    for one in run["operations"]:
        points = [point["value"] for point in server.get(one["operation"], [])]
        rows.append([
            one["operation"], f"{one['requests']:,}", milliseconds(sum(points) / len(points)) if points else "–",
            milliseconds(one["avg_ms"]), milliseconds(one["p99_ms"]), str(one["throttled"])])
    title(f"{file}, Fargate standalone: {run['totals']['rps']:,.0f} RPS, {run['consumed']['round_trips_per_acquire']:.2f} round trips an acquire, "
          f"{run['operations'][0]['client_cpu_us']:.0f} µs of the client's CPU a request")
    table(["Operation", "Requests", "Server, average", "Client, average", "Client, p99", "Throttled"], rows)


def capacity(seconds):
    """Capacity planning: users against one core, then against all."""
    program = shutil.which("zae-limiter")
    client, engine = pinned()
    with tempfile.TemporaryFile("w+") as said:
        server = subprocess.Popen([*engine, program, "local", "--port", "0", *LATENCY], stdout=subprocess.PIPE, stderr=said, text=True)
        try:
            url = re.search(r"http://\S+", server.stdout.readline()).group()
            # The first acquire of each entity is slower, and there is one for each user.
            at = ["--endpoint-url", url, "--create-table", "--spawn-rate", "1000", "--warmup", "3", "--duration", str(3 + seconds)]
            sweep(client, seconds, "simple", "SimpleUser", "120,150,180,220,260", at, ["--cores", "1"])
            sweep(client, seconds, "max_rps", "MaxRpsUser", "10,20,30,40", at, ["--cores", "1"])
            sweep(client, seconds, "simple", "SimpleUser", "500,2000", at, ["--cores", "1"])
            sweep([], seconds, "simple", "SimpleUser", "500,2000", at, ["--cores", "0"])
            for pool in ("50", "200", "1000"):
                sweep(client, seconds, "simple", "SimpleUser", "120", at, ["--cores", "1", "--pool-connections", pool])
        finally:
            server.terminate()
            server.wait()


def pinned():
    """How users and engine are kept apart."""
    cores = os.cpu_count() or 1
    if cores < 2 or not shutil.which("taskset"):
        return [], []
    return ["taskset", "-c", "0"], ["taskset", "-c", str(cores - 1)]


def sweep(client, seconds, file, user, users, at, more):
    path = os.path.join(FILES, "locustfiles", f"{file}.star")
    swept = document("load", "benchmark", "-f", path, user, "--sweep-users", users, *at, *more, before=client)
    title(f"{file}, {' '.join(more)}, {seconds} s")
    rows = []
    for row in swept["rows"]:
        note = row["verdict"]["state"] + "".join(f": {reason}" for reason in row["verdict"]["reasons"])
        rows.append([str(row["users"]), f"{row['rps']:,.0f}", f"{100 * row['cpu_ratio']:.0f} %", milliseconds(row["p50_ms"]), milliseconds(row["p95_ms"]), note])
    table(["Users", "RPS", "CPU %", "p50", "p95", "Verdict"], rows)


def milliseconds(value):
    return "–" if value is None else f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def title(text):
    print(f"\n{text}\n", flush=True)


def table(head, rows):
    for row in [head, ["---"] * len(head), *rows]:
        print("| " + " | ".join(row) + " |", flush=True)


def quietly(*arguments):
    subprocess.run(["zae-limiter", *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def document(*arguments, before=()):
    """What the command prints with --json. A verdict that is not valid is shown, not an error."""
    ended = subprocess.run([*before, "zae-limiter", *arguments, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if ended.returncode not in (0, 5):
        raise SystemExit(f"{' '.join(arguments)} ended with {ended.returncode}:\n{ended.stderr}")
    return json.loads(ended.stdout)


if __name__ == "__main__":
    main()
