"""What deploying costs, and how soon a function's program is there. Runs within `zae-limiter local aws`."""

import argparse
import glob
import http.server
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time

STACK = ["--name", "bench", "--region", "us-east-1"]
FILES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "locust")
ROUNDS = 7


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", required=True, help="the folder of the account")
    options = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f}")
    run("deploy", *STACK, "--no-aggregator")
    first = timed("load", "deploy", *STACK, "--vpc-id", "vpc-local", "--subnet-ids", "subnet-a,subnet-b", "-C", FILES)
    print(f"first load deploy: {first:.2f} s")
    print_times("load push of an unchanged tree", [timed("load", "push", *STACK, "-C", FILES) for _ in range(ROUNDS)])
    print_times("load list", [timed("load", "list", "--region", "us-east-1") for _ in range(ROUNDS)])
    sizes(options.state)
    print_times("function: exec to client_ready", [cold_start() for _ in range(ROUNDS)])


def run(*arguments):
    subprocess.run(["zae-limiter", *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def timed(*arguments):
    start = time.monotonic()
    run(*arguments)
    return time.monotonic() - start


def print_times(name, seconds):
    print(f"{name}: median {1000 * statistics.median(seconds):.1f} ms, best {1000 * min(seconds):.1f} ms", flush=True)


def sizes(state):
    """The compressed layers of the image, and the program packed as the function's package is."""
    layers = [os.path.getsize(path) for path in glob.glob(os.path.join(state, "images", "**", "*"), recursive=True) if os.path.isfile(path)]
    print(f"image: {sum(layers) / 1e6:.2f} MB in the registry")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(shutil.which("zae-limiter"), os.path.join(folder, "bootstrap"))
        package = shutil.make_archive(os.path.join(folder, "package"), "zip", folder, "bootstrap")
        print(f"function package: {os.path.getsize(package) / 1e6:.2f} MB")


class Runtime(http.server.BaseHTTPRequestHandler):
    """Lambda's runtime API: one event, and then nothing any more."""

    protocol_version = "HTTP/1.1"
    event = b""
    given = False

    def do_GET(self):  # noqa: N802, the name is http.server's
        if type(self).given:
            time.sleep(60)
            return
        type(self).given = True
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", "00000000-bench")
        self.send_header("Lambda-Runtime-Deadline-Ms", str(int(1000 * (time.time() + 300))))
        self.send_header("Content-Length", str(len(self.event)))
        self.end_headers()
        self.wfile.write(self.event)

    def log_message(self, *_):
        pass


def cold_start():
    """The seconds from the start of the function's program, which gets an event at once, until it registers."""
    with socket.create_server(("127.0.0.1", 0)) as master:
        master.settimeout(20)
        config = {"mode": "worker", "master_host": "127.0.0.1", "master_port": master.getsockname()[1], "locustfile": "locustfiles/max_rps.star"}
        handler = type("OneEvent", (Runtime,), {"event": json.dumps({"config": config}).encode()})
        api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        api.daemon_threads = True
        threading.Thread(target=api.serve_forever, daemon=True).start()
        start = time.monotonic()
        child = subprocess.Popen([shutil.which("zae-limiter")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={
            **os.environ, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_address[1]}", "LAMBDA_TASK_ROOT": FILES, "TARGET_STACK_NAME": "bench"})
        try:
            connection, _ = master.accept()
            with connection:
                connection.settimeout(20)
                connection.sendall(b"\xff" + bytes(7) + b"\x01\x7f\x03\x01NULL" + bytes(48))
                connection.sendall(b"\x04\x29\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER\x08Identity\x00\x00\x00\x00")
                received = b""
                while b"client_ready" not in received:
                    received += connection.recv(4096)
                return time.monotonic() - start
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
            api.shutdown()


if __name__ == "__main__":
    main()
