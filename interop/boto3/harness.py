"""Records what a DynamoDB endpoint answers, in a form that two endpoints can be compared by.

A case is a function that takes a Recorder and makes calls. Each call is recorded: its result, or
the code, message and members of its error, with everything removed that must differ between two
servers (identifiers, dates, account and region).
"""

import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any, Callable

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

CASES: dict[str, "Case"] = {}


@dataclass
class Case:
    name: str
    run: Callable[["Recorder"], None]
    tables: list[dict]


def case(name: str, run: Callable[["Recorder"], None], *tables: dict) -> None:
    """Registers a case. Its tables exist, empty, when it starts."""
    if name in CASES:
        raise ValueError(f"two cases are named {name!r}")
    CASES[name] = Case(name, run, list(tables))


@dataclass
class Outcome:
    operation: str
    request: Any
    value: Any  # normalised


@dataclass
class Recorder:
    """Makes calls to one endpoint and keeps their outcomes."""

    endpoint: str
    client: Any
    outcomes: list[Outcome] = field(default_factory=list)
    streams: "Recorder | None" = None  # for the Streams API, with the same outcomes

    def quiet(self, operation: str, **request) -> dict:
        """A call that prepares the case: it must succeed, and is not compared."""
        return getattr(self.client, operation)(**request)

    def call(self, operation: str, *, unordered: bool = False, **request) -> dict:
        """A call that is compared. unordered: the order of items is the server's own."""
        reply: dict = {}
        try:
            reply = getattr(self.client, operation)(**request)
            value = {k: v for k, v in reply.items() if k != "ResponseMetadata"}
        except ClientError as e:
            error = e.response["Error"]
            value = {"error": error["Code"], "message": error.get("Message", "")}
            for member in ("Item", "CancellationReasons", "ThrottlingReasons"):
                if member in e.response:
                    value[member] = e.response[member]
            status = e.response["ResponseMetadata"]["HTTPStatusCode"]
            if status != 400:
                value["status"] = status
        self.outcomes.append(Outcome(operation, request, normalise(value, unordered)))
        return reply

    def raw(self, target: str, body: bytes) -> None:
        """A request that the SDK would not send."""
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "Authorization": "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/dynamodb/aws4_request,"
            " SignedHeaders=host, Signature=0",
            "X-Amz-Date": "20260101T000000Z",
        }
        if target:
            headers["X-Amz-Target"] = target
        request = urllib.request.Request(self.endpoint, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                status, data = reply.status, reply.read()
        except urllib.error.HTTPError as e:
            status, data = e.code, e.read()
        value = json.loads(data)
        if "__type" in value:
            value["__type"] = value["__type"].rpartition("#")[2]
            value["message"] = value.pop("Message", value.get("message", ""))
        self.outcomes.append(Outcome("raw", {"target": target, "body": body.decode()}, {"status": status, **normalise(value, False)}))


def recorder(endpoint: str) -> Recorder:
    outcomes: list[Outcome] = []
    return Recorder(endpoint, client("dynamodb", endpoint), outcomes, Recorder(endpoint, client("dynamodbstreams", endpoint), outcomes))


def client(service: str, endpoint: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(
            parameter_validation=False,  # the server is to refuse what is wrong
            retries={"total_max_attempts": 1},
            connect_timeout=5,
            read_timeout=30,
        ),
    )


def run(c: Case, r: Recorder) -> list[Outcome]:
    """Runs a case on an endpoint, in fresh tables."""
    r.outcomes.clear()
    remove_tables(r)
    for definition in c.tables:
        r.quiet("create_table", **definition)
    c.run(r)
    return list(r.outcomes)


def remove_tables(r: Recorder) -> None:
    for name in r.quiet("list_tables")["TableNames"]:
        r.quiet("delete_table", TableName=name)


# Members that are a server's own.
VOLATILE = {
    "TableId",
    "CreationDateTime",
    "LastUpdateToPayPerRequestDateTime",
    "LastIncreaseDateTime",
    "LastDecreaseDateTime",
    "LatestStreamLabel",
    "IndexSizeBytes",
    "TableSizeBytes",
    "NumberOfDecreasesToday",
}

# Members that are a server's own, and that must be there on both or on neither.
OPAQUE = {
    "ApproximateCreationDateTime",
    "CreationRequestDateTime",
    "EndingSequenceNumber",
    "NextShardIterator",
    "ParentShardId",
    "SequenceNumber",
    "ShardId",
    "ShardIterator",
    "StartingSequenceNumber",
    "StreamLabel",
    "awsRegion",
    "eventID",
}

ZERO_UNITS = ({}, {"ReadCapacityUnits": 0, "WriteCapacityUnits": 0})

ARN = re.compile(r"arn:aws:dynamodb:[a-z0-9-]*:[0-9]*:")
STREAM = re.compile(r"/stream/[0-9T:.-]+")


def normalise(value: Any, unordered: bool) -> Any:
    if isinstance(value, dict):
        result = {k: "…" if k in OPAQUE else normalise(v, unordered) for k, v in value.items() if k not in VOLATILE}
        if "IndexName" in result and result.get("ProvisionedThroughput") in ZERO_UNITS:
            del result["ProvisionedThroughput"]  # what an index on demand says of its units
        for kind in ("SS", "NS", "BS"):
            if isinstance(result.get(kind), list):
                result[kind] = sorted(result[kind])
        return result
    if isinstance(value, (bytes, bytearray)):
        return "base64:" + bytes(value).hex()
    if isinstance(value, (list, tuple)):
        result = [normalise(v, unordered) for v in value]
        if unordered or result and all(isinstance(v, dict) and ("IndexName" in v or "AttributeType" in v) for v in result):
            result.sort(key=lambda v: json.dumps(v, sort_keys=True))
        return result
    if isinstance(value, str):
        return STREAM.sub("/stream/LABEL", ARN.sub("arn:aws:dynamodb:REGION:ACCOUNT:", value))
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)


def text(value: Any) -> str:
    """An outcome on one line: the error as "Code: message", else JSON."""
    if isinstance(value, dict) and "error" in value:
        line = f"{value['error']}: {value['message']}"
        more = {k: v for k, v in value.items() if k not in ("error", "message")}
        return line + (" " + json.dumps(more, sort_keys=True) if more else "")
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
