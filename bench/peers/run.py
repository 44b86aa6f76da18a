"""Runs the peers and us in turn against our engine and prints the ratios.

The engine is pinned to one core, each client to the other; every round runs each contender once,
and the medians over the rounds are compared, so that a drift of the machine's speed hits all alike.
What an acquire costs a client alone is measured against a server that answers every request with the
same bytes. Besides the rate there is the processor time of the client, which a busy machine changes less.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = "bench-peers"
USERS = 10


def main():
    options = parse_arguments()
    engine, endpoint = start_engine(options)
    try:
        subprocess.run([options.sdkloop, "-endpoint", endpoint, "-table", TABLE, "-prepare"], check=True)
        contenders = build_contenders(options, endpoint)
        contenders |= fixed_contenders(options)
        results = {name: [] for name in contenders}
        for round_number in range(1, options.rounds + 1):
            for name, run in contenders.items():
                rate, cpu = run()
                results[name].append((rate, cpu))
                print(f"round {round_number}: {name:<46} {rate:>9,.0f}/s {cpu:>9.1f} us CPU", flush=True)
        starts = measure_starts(options, endpoint)
    finally:
        engine.terminate()
        engine.wait(timeout=20)
    print_summary(results)
    for name, seconds in starts.items():
        print(f"  exec to first acquire, {name:<33} {statistics.median(seconds) * 1000:>9,.0f} ms")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, help="our zae-limiter")
    parser.add_argument("--sdkloop", required=True, help="the bare SDK loop (bench/peers/sdkloop)")
    parser.add_argument("--fixedloop", required=True, help="acquires against a fixed reply (bench/peers/fixedloop)")
    parser.add_argument("--locust", required=True, help="locust of the virtual environment")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def pinned(core, command):
    return ["taskset", "-c", str(core), *command]


def start_engine(options):
    engine = subprocess.Popen(
        pinned(1, [options.binary, "local", "--port", "0"]),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in engine.stdout:
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        if found:
            return engine, found.group(0)
    raise SystemExit("the engine did not start")


def build_contenders(options, endpoint):
    seconds = options.seconds

    def ours(locustfile, *extra, namespace=True):
        command = [options.binary, "load", "benchmark", "--json", "-f", locustfile if "-C" in extra else os.path.join(HERE, locustfile),
                   "--endpoint-url", endpoint, "--table", TABLE, "--users", str(USERS),
                   "--spawn-rate", "1000", "--duration", str(seconds), *extra]
        if namespace:
            command += ["--namespace", "default", "--keep-data"]
        return lambda: run_ours(command)

    def locust(speculative):
        env = {**peer_environment(endpoint), "SPECULATIVE": "1" if speculative else "0"}
        return lambda: run_locust(options.locust, env, seconds)

    loop = [options.sdkloop, "-endpoint", endpoint, "-table", TABLE,
            "-workers", str(USERS), "-duration", f"{seconds}s"]
    examples = os.path.join(HERE, "..", "..", "examples", "locust")
    return {
        "SDK UpdateItem alone": lambda: run_loop(loop),
        "zae-limiter": ours("acquire.star"),
        "zae-limiter, SDK client": ours("acquire.star", "--client", "sdk"),
        "Locust + zae-limiter 0.17.0": locust(True),
        "zae-limiter, speculation off": ours("acquire.star", "--speculative=false"),
        "zae-limiter, SDK client, speculation off": ours("acquire.star", "--speculative=false", "--client", "sdk"),
        "Locust + zae-limiter 0.17.0, speculation off": locust(False),
        "zae-limiter, max_rps with 10 users": ours("locustfiles/max_rps.star", "MaxRpsUser", "-C", examples, namespace=False),
    }


def fixed_contenders(options):
    """Whole acquires against a server on core 1 that always answers the same, and the same bytes bare."""
    contenders = {}
    for scheme in ["http", "https"]:
        def run(client, scheme=scheme):
            with tempfile.TemporaryDirectory() as folder:
                roots = os.path.join(folder, "roots.pem")
                server = subprocess.Popen(pinned(1, [options.fixedloop, "-serve", scheme, "-roots", roots]),
                                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                try:
                    endpoint = server.stdout.readline().strip()
                    return run_loop([options.fixedloop, "-endpoint", endpoint, "-roots", roots, "-client", client,
                                     "-workers", str(USERS), "-duration", f"{options.seconds}s"])
                finally:
                    server.stdin.close()
                    server.wait(timeout=20)
        for client in ["raw", "lean", "sdk"]:
            contenders[fixed_name(client, scheme)] = lambda client=client, run=run: run(client)
    return contenders


def fixed_name(client, scheme):
    what = {"raw": "bare connections", "lean": "acquire, lean client", "sdk": "acquire, SDK client"}[client]
    return f"fixed reply, {scheme}: {what}"


def measured(command, env=None):
    """Runs a client on core 0; returns its stdout and the CPU seconds it used."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(pinned(0, command), stdout=out, stderr=err,
                                 env={**os.environ, **(env or {})}, cwd=tempfile.gettempdir())
        _, status, usage = os.wait4(child.pid, 0)
        code = child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        text = out.read()
        if code != 0:
            sys.stderr.write(err.read())
            raise SystemExit(f"exit {code}: {' '.join(command)}")
    return text, usage.ru_utime + usage.ru_stime


def measure_starts(options, endpoint):
    """The time from exec to the end of the first acquire, several times in turn."""
    ours = [options.binary, "load", "benchmark", "-f", os.path.join(HERE, "first.star"), "--users", "1", "--duration", "5"]
    peer = [options.locust, "--headless", "-f", os.path.join(HERE, "first.py"), "-u", "1", "-t", "5s", "--only-summary"]
    contenders = {
        "ours on the embedded engine": (ours, {}),
        "ours on an endpoint": ([*ours, "--endpoint-url", endpoint, "--table", TABLE, "--namespace", "default", "--keep-data"], {}),
        "Locust + zae-limiter 0.17.0": (peer, peer_environment(endpoint)),
    }
    starts = {name: [] for name in contenders}
    for _ in range(2 * options.rounds + 1):
        for name, (command, env) in contenders.items():
            starts[name].append(first_acquire(command, env))
    return starts


def first_acquire(command, env):
    start = time.perf_counter()
    child = subprocess.Popen(pinned(0, command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             env={**os.environ, **env}, cwd=tempfile.gettempdir())
    took = None
    output = ""
    for line in child.stdout:
        output += line
        if took is None and "first acquire" in line:
            took = time.perf_counter() - start
    child.wait()
    if took is None:
        raise SystemExit(f"no acquire: {' '.join(command)}\n{output}")
    return took


def peer_environment(endpoint):
    return {"TABLE": TABLE, "AWS_ENDPOINT_URL_DYNAMODB": endpoint, "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1"}


def run_ours(command):
    text, cpu = measured(command)
    result = json.loads(text)
    acquires = [e for e in result["entries"] if e["type"] == "ACQUIRE"]
    requests = sum(e["requests"] for e in acquires)
    if sum(e["failures"] for e in acquires):
        raise SystemExit("our run had failures: " + json.dumps(result["errors"]))
    return requests / result["run"]["active_seconds"], cpu / requests * 1e6


def run_locust(locust, env, seconds):
    with tempfile.TemporaryDirectory() as folder:
        name = os.path.join(folder, "stats")
        _, cpu = measured([locust, "--headless", "-f", os.path.join(HERE, "locustfile.py"), "-u", str(USERS),
                  "-r", "1000", "-t", f"{seconds}s", "--only-summary", "--json-file", name], env)
        with open(name + ".json", encoding="utf-8") as file:
            rows = json.load(file)
    row = next(r for r in rows if r["method"] == "ACQUIRE")
    if row["num_failures"]:
        raise SystemExit("the peer's run had failures")
    elapsed = row["last_request_timestamp"] - row["start_time"]
    return row["num_requests"] / elapsed, cpu / row["num_requests"] * 1e6


def run_loop(command):
    text, cpu = measured(command)
    report = json.loads(text)
    return report["requests"] / report["seconds"], cpu / report["requests"] * 1e6


def print_summary(results):
    median = {name: statistics.median(rate for rate, _ in runs) for name, runs in results.items()}
    cpu = {name: statistics.median(c for _, c in runs) for name, runs in results.items()}
    print(f"\nmedians of {len(next(iter(results.values())))} rounds, one client core each, "
          f"{USERS} users, 4096 entities")
    for name, rate in median.items():
        print(f"  {name:<46} {rate:>9,.0f} acquires/s {cpu[name]:>9.1f} us CPU each")
    ratio("ours / Locust + zae-limiter", median["zae-limiter"], median["Locust + zae-limiter 0.17.0"])
    ratio("ours / bare SDK UpdateItem loop", median["zae-limiter"], median["SDK UpdateItem alone"])
    theirs = "Locust + zae-limiter 0.17.0"
    for scheme in ["http", "https"]:
        ratio(f"fixed reply, {scheme}, lean: CPU of {theirs} / ours", cpu[theirs], cpu[fixed_name("lean", scheme)])
        ratio(f"fixed reply, {scheme}: CPU with the SDK client / lean", cpu[fixed_name("sdk", scheme)], cpu[fixed_name("lean", scheme)])
    ratio("ours / Locust + zae-limiter, speculation off", median["zae-limiter, speculation off"],
          median["Locust + zae-limiter 0.17.0, speculation off"])


def ratio(label, ours, theirs):
    print(f"  {label:<62} {ours / theirs:>7.2f} x")


if __name__ == "__main__":
    start = time.monotonic()
    main()
    print(f"took {time.monotonic() - start:.0f} s")
