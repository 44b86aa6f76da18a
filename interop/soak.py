"""A cluster of processes at full speed whose workers are replaced all the time.

A master, an engine and workers of this program run as processes of their own. Every period one more
worker joins and the oldest one is told to end. At the end every acquire that the engine has served
must be counted by the master, nothing may be missing, nobody's memory or goroutines may have grown,
and every process must have ended with exit code 0.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLES = os.path.join(HERE, "..", "examples", "locust")
LOCUSTFILE = "locustfiles/max_rps.star"
TABLE, NAMESPACE = "soak", "soak"
PERIOD = 30
MEGABYTE = 1 << 20
SLOPE = 1.0  # MB a minute
# What memory may move in a run that is too short for a slope to say much, in MB.
NOISE, LONG = 8.0, 5.0


def main():
    options = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(options, folder)
        try:
            soak.run()
        finally:
            soak.end()
    print_outcome(soak)
    sys.exit(1 if soak.problems else 0)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, help="our zae-limiter")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--period", type=float, help="seconds between two changes of workers (30, less in a short run)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--users", type=int, default=40)
    options = parser.parse_args()
    if options.period is None:
        options.period = min(PERIOD, options.seconds / 6)
    return options


class Soak:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.problems, self.memory, self.goroutines, self.facts = [], {}, [], {}
        self.children, self.workers, self.started, self.replaced = [], [], 0, 0

    def start(self, name, *arguments):
        """Starts a process of this program whose log goes to a file of its name."""
        log = open(os.path.join(self.folder, name + ".log"), "w+", encoding="utf-8")
        out = open(os.path.join(self.folder, name + ".out"), "w+", encoding="utf-8")
        # Memory is collected early, so that what stays shows early.
        child = subprocess.Popen([self.options.binary, *arguments], stdout=out, stderr=log, stdin=subprocess.DEVNULL,
                                 env={**os.environ, "GOGC": "50"})
        child.name, child.log, child.out = name, log, out
        self.children.append(child)
        return child

    def text(self, child, suffix):
        with open(os.path.join(self.folder, child.name + suffix), encoding="utf-8") as file:
            return file.read()

    def await_text(self, child, suffix, pattern, within=30):
        end = time.monotonic() + within
        while time.monotonic() < end:
            found = re.search(pattern, self.text(child, suffix))
            if found:
                return found.group(1)
            if child.poll() is not None:
                break
            time.sleep(0.05)
        raise SystemExit(f"{child.name} did not say {pattern}:\n{self.text(child, '.log')}")

    def run(self):
        o = self.options
        engine = self.start("engine", "local", "--port", "0", "--json")
        self.endpoint = self.await_text(engine, ".out", r"(http://127\.0\.0\.1:\d+)")
        self.master = self.start(
            "master", "load", "master", "-C", EXAMPLES, "-f", LOCUSTFILE, "MaxRpsUser", "--bind", "127.0.0.1:0", "--web-port", "0",
            "--endpoint-url", self.endpoint, "--table", TABLE, "--create-table", "--namespace", NAMESPACE, "--keep-data",
            "--users", str(o.users), "--spawn-rate", str(o.users), "--run-time", str(o.seconds), "--json",
            "--autostart", "--autoquit", "3", "--expect-workers", str(o.workers), "--enable-rebalancing")
        self.web = self.await_text(self.master, ".log", r"(http://[^\s/]+:\d+)")
        self.address = self.await_text(self.master, ".log", r"(127\.0\.0\.1:\d+)")
        for _ in range(o.workers):
            self.add_worker()
        self.veteran = self.workers.pop(0)  # is never replaced
        self.watch()
        self.judge()

    def add_worker(self):
        worker = self.start(f"worker-{self.started}", "load", "worker", "--master", self.address,
                            "-C", EXAMPLES, "-f", LOCUSTFILE, "--cores", "1")
        self.await_text(worker, ".log", r"(joined)")
        self.started += 1
        self.workers.append(worker)

    def watch(self):
        """Replaces workers until the master has ended the run, and looks at memory and goroutines."""
        start = time.monotonic()
        change = start + self.options.period
        while time.monotonic() < start + self.options.seconds - 2:
            time.sleep(0.5)
            if self.master.poll() is not None:
                self.problems.append("the master ended before its time")
                return
            now = time.monotonic()
            self.look(now - start)
            if now >= change and now < start + self.options.seconds - 5:
                change += self.options.period
                self.replace()

    def replace(self):
        self.add_worker()
        time.sleep(2)  # its users are running
        oldest = self.workers.pop(0)
        oldest.send_signal(signal.SIGTERM)
        if oldest.wait(timeout=15) != 0:
            self.problems.append(f"{oldest.name}: exit code {oldest.returncode}:\n{self.text(oldest, '.log')}")
        self.replaced += 1

    def look(self, second):
        metrics = urllib.request.urlopen(self.web + "/metrics", timeout=30).read().decode()
        number = lambda name: float(re.search(rf"^{name} (\S+)", metrics, re.M).group(1))
        self.goroutines.append((second, number("go_goroutines")))
        for name, megabytes in (("live memory of the master", number("go_gc_heap_live_bytes") / MEGABYTE),
                                ("resident memory of the master", resident(self.master)),
                                ("resident memory of a worker", resident(self.veteran))):
            self.memory.setdefault(name, []).append((second, megabytes))

    def judge(self):
        try:
            self.master.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.problems.append("the master did not end within 60 s of the end of the run")
            return
        workers = [self.veteran, *self.workers]
        for worker in workers:
            worker.wait(timeout=20)
        for child in (self.master, *workers):
            if child.returncode != 0:
                self.problems.append(f"{child.name}: exit code {child.returncode}:\n{self.text(child, '.log')[-2000:]}")
        result = json.loads(self.text(self.master, ".out"))
        if "totals" not in result:
            self.problems.append(f"no result: {result}")
            return
        counted = sum(e["requests"] - e["failures"] for e in result["entries"] if e["type"] == "ACQUIRE")
        served = self.served()
        self.facts = {"acquires counted": counted, "served by the engine": served, "workers replaced": self.replaced,
                      "coverage": round(result["coverage"]["ratio"], 4), "verdict": result["verdict"]["state"]}
        if counted != served:
            self.problems.append(f"{served} acquires served by the engine, {counted} counted: {counted - served:+d}")
        if counted == 0 or self.replaced == 0:
            self.problems.append("nothing was tested")
        for field in ("unaccounted_samples", "missing_reports", "lost_workers"):
            if result["coverage"][field]:
                self.problems.append(f"{field}: {result['coverage'][field]}")
        if result["totals"]["failures"]:
            self.problems.append(f"failures: {json.dumps(result['errors'])}")
        self.judge_growth()

    def judge_growth(self):
        for name, samples in self.memory.items():
            settled = later(samples)
            minutes = (settled[-1][0] - settled[0][0]) / 60
            slope = theil_sen(settled) * 60
            self.facts[name] = f"{settled[-1][1]:.1f} MB, {slope:+.2f} MB a minute over {minutes:.1f} minutes"
            allowed = SLOPE if minutes >= LONG else SLOPE + NOISE / minutes
            if slope > allowed:
                self.problems.append(f"{name} grows by {slope:.2f} MB a minute, more than {allowed:.2f}")
        settled = later(self.goroutines)
        half = len(settled) // 2
        before, after = (statistics.median(n for _, n in part) for part in (settled[:half], settled[half:]))
        self.facts["goroutines of the master"] = f"{before:.0f}, then {after:.0f}"
        if after > before + 5:
            self.problems.append(f"goroutines of the master: {before:.0f}, later {after:.0f}")

    def served(self):
        """What the engine's buckets say was consumed, one token an acquire."""
        total, start = 0, None
        while True:
            body = {"TableName": TABLE, "ProjectionExpression": "b_rpm_tc", "FilterExpression": "attribute_exists(b_rpm_tc)"}
            if start:
                body["ExclusiveStartKey"] = start
            request = urllib.request.Request(self.endpoint, data=json.dumps(body).encode(), headers={
                "X-Amz-Target": "DynamoDB_20120810.Scan", "Content-Type": "application/x-amz-json-1.0", "X-Amz-Date": "20260101T000000Z",
                "Authorization": "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, "
                                 "SignedHeaders=host;x-amz-date;x-amz-target, Signature=" + "0" * 64})
            page = json.load(urllib.request.urlopen(request, timeout=30))
            total += sum(int(item["b_rpm_tc"]["N"]) for item in page["Items"])
            start = page.get("LastEvaluatedKey")
            if not start:
                return total // 1000

    def end(self):
        for child in reversed(self.children):
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
                try:
                    child.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
                    self.problems.append(f"{child.name} had to be killed")
            child.log.close()
            child.out.close()


def resident(child):
    with open(f"/proc/{child.pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


def later(samples):
    """What was seen after the first quarter, in which everything still warms up."""
    return samples[len(samples) // 4:]


def theil_sen(samples):
    """The median slope between any two of the samples: a few outliers do not matter."""
    thinned = samples[::max(1, len(samples) // 200)]
    slopes = [(y2 - y1) / (x2 - x1) for i, (x1, y1) in enumerate(thinned) for x2, y2 in thinned[i + 1:] if x2 > x1]
    return statistics.median(slopes)


def print_outcome(soak):
    for name, value in soak.facts.items():
        print(f"  {name:<32} {value}")
    for problem in soak.problems:
        print("FAILED: " + problem)
    print("soak: " + ("failed" if soak.problems else "ok"))


if __name__ == "__main__":
    main()
