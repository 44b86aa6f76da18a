"""Tables and short ways to write values."""


def s(value):
    return {"S": value}


def n(value):
    return {"N": str(value)}


def b(value):
    return {"B": value}


def ss(*values):
    return {"SS": list(values)}


def ns(*values):
    return {"NS": [str(v) for v in values]}


def bs(*values):
    return {"BS": list(values)}


def lst(*values):
    return {"L": list(values)}


def m(**values):
    return {"M": values}


NULL = {"NULL": True}
TRUE = {"BOOL": True}
FALSE = {"BOOL": False}


def key(name, kind="HASH"):
    return {"AttributeName": name, "KeyType": kind}


def attribute(name, kind="S"):
    return {"AttributeName": name, "AttributeType": kind}


def index(name, *keys, projection="ALL", include=None):
    p = {"ProjectionType": projection}
    if include:
        p["NonKeyAttributes"] = include
    return {"IndexName": name, "KeySchema": [key(k, kind) for k, kind in zip(keys, ("HASH", "RANGE"))], "Projection": p}


def table(name, keys, attributes, **more):
    return {
        "TableName": name,
        "KeySchema": [key(k, kind) for k, kind in zip(keys, ("HASH", "RANGE"))],
        "AttributeDefinitions": [attribute(k, t) for k, t in attributes.items()],
        "BillingMode": "PAY_PER_REQUEST",
        **more,
    }


PLAIN = table("plain", ["PK"], {"PK": "S"})
PAIR = table("pair", ["PK", "SK"], {"PK": "S", "SK": "S"})
NUMBERED = table("numbered", ["PK", "SK"], {"PK": "S", "SK": "N"})
BYTES = table("bytes", ["PK", "SK"], {"PK": "B", "SK": "B"})
INDEXED = table(
    "indexed",
    ["PK", "SK"],
    {"PK": "S", "SK": "S", "G1": "S", "G2": "N", "L1": "S"},
    GlobalSecondaryIndexes=[
        index("all", "G1", "G2"),
        index("keys", "G1", projection="KEYS_ONLY"),
        index("some", "G1", "SK", projection="INCLUDE", include=["a", "b"]),
    ],
    LocalSecondaryIndexes=[
        index("local", "PK", "L1"),
        index("localkeys", "PK", "L1", projection="KEYS_ONLY"),
    ],
)
# The limiter's table, without its stream.
LIMITER = table(
    "limiter",
    ["PK", "SK"],
    {"PK": "S", "SK": "S"}
    | {f"GSI{i}{k}": "S" for i in range(1, 5) for k in ("PK", "SK")}
    | {f"LSI{i}SK": "S" for i in range(1, 6)},
    GlobalSecondaryIndexes=[
        index(f"GSI{i}", f"GSI{i}PK", f"GSI{i}SK", projection="ALL" if i < 3 else "KEYS_ONLY") for i in range(1, 5)
    ],
    LocalSecondaryIndexes=[
        index(f"LSI{i}", "PK", f"LSI{i}SK", projection="ALL" if i % 2 else "KEYS_ONLY") for i in range(1, 6)
    ],
)
