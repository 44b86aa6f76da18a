"""A reverse proxy that notes every call: service, operation, status and the code of an error."""

import http.client
import json
import re
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from botocore.session import Session

# Of a service whose operations are told by method and path.
REST = ("lambda",)
SCOPE = re.compile(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request")
WITHIN = 120  # seconds that an answer may take


class Routes:
    """Operations by method and path, of the services in REST."""

    def __init__(self):
        session, self.patterns = Session(), {}
        for service in REST:
            model = session.get_service_model(service)
            rows = []
            for name in model.operation_names:
                call = model.operation_model(name).http
                path = call["requestUri"].split("?")[0].rstrip("/")
                pattern = "".join(part if i % 2 == 0 else "[^/]+" for i, part in enumerate(re.split(r"(\{[^}]+\})", re.sub(r"\.", r"\\.", path))))
                rows.append((call["method"], re.compile(pattern + "/?"), name))
            self.patterns[service] = rows

    def find(self, service: str, method: str, path: str) -> str:
        for verb, pattern, name in self.patterns.get(service, ()):
            if verb == method and pattern.fullmatch(path):
                return name
        return f"{method} {path}"


class Recorder:
    """Stands before an account on a port of its own.

    answers: status and body that stand for an operation's answer where the account has none.
    registry: host and port of an image registry for an account without one; the names of ECR's hosts in
    answers then become the recorder's.
    """

    def __init__(self, target: str, answers: dict[tuple[str, str], tuple[int, str]] | None = None, registry: str | None = None):
        self.target, self.answers, self.registry = urlsplit(target).netloc, answers or {}, registry
        self.routes = Routes()
        self.accepted: dict[tuple[str, str], int] = defaultdict(int)
        self.refused: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)  # code to message
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"recorder": self}))
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.host}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def operation(self, method: str, path: str, headers, body: bytes) -> tuple[str, str] | None:
        """Service and operation; None for what is no signed call."""
        scope = SCOPE.search(headers.get("Authorization", ""))
        if scope is None:
            return None
        service = scope[1]
        if target := headers.get("X-Amz-Target"):
            return service, target.split(".")[-1]
        if cbor := re.fullmatch(r"/service/[^/]+/operation/([^/]+)", path):
            return service, cbor[1]
        if service in REST:
            return service, self.routes.find(service, method, path)
        return service, parse_qs(body.decode("utf-8", "replace")).get("Action", ["?"])[0]

    def note(self, call: tuple[str, str], status: int, headers, body: bytes) -> None:
        with self.lock:
            if status < 300:
                self.accepted[call] += 1
            else:
                code, message = failure(status, headers, body)
                self.refused[call][code] = message


def failure(status: int, headers, body: bytes) -> tuple[str, str]:
    """Code and message of a refusal in any of the protocols."""
    text = body.decode("utf-8", "replace")
    code = headers.get("X-Amzn-Errortype", "").split(":")[0]
    message = " ".join(text.split())[:300]
    try:
        data = json.loads(text)
        code = code or data.get("__type", "").split("#")[-1]
        message = data.get("message") or data.get("Message") or message
    except (ValueError, AttributeError):
        if found := re.search(r"<Code>([^<]+)</Code>", text):
            code = found[1]
        if found := re.search(r"<Message>([^<]*)</Message>", text):
            message = found[1]
    return code or f"HTTP {status}", message


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    recorder: Recorder

    def log_message(self, *_):
        pass

    def serve(self):
        r = self.recorder
        parts = urlsplit(self.path)
        body = self.body()
        call = r.operation(self.command, parts.path, self.headers, body)
        if call in r.answers:
            status, text = r.answers[call]
            return self.reply(status, [("Content-Type", "text/xml" if text.startswith("<") else "application/json")], text.encode())
        registry = call is None and r.registry is not None and parts.path.startswith("/v2/")
        connection = http.client.HTTPConnection(r.registry if registry else r.target, timeout=WITHIN)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
        except OSError as e:
            return self.reply(502, [], str(e).encode())
        finally:
            connection.close()
        if call is not None:
            r.note(call, answer.status, answer.headers, content)
            # A data channel is no HTTP call: it goes to the account itself.
            content = content.replace(b"ws://" + r.host.encode(), b"ws://" + r.target.encode())
            if r.registry is not None:
                content = re.sub(rb"(https://)?\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com", r.host.encode(), content)
        self.reply(answer.status, answer.getheaders(), content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = serve

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def reply(self, status: int, headers, content: bytes) -> None:
        self.send_response_only(status)
        length = str(len(content))
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            elif name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
