"""PutItem, GetItem, DeleteItem: values, keys, sizes, return values, capacity, JSON shape."""

from harness import case

from .fixtures import BYTES, FALSE, INDEXED, NULL, NUMBERED, PAIR, PLAIN, TRUE, b, bs, lst, m, n, ns, s, ss


def put_get(value):
    def run(r):
        r.call("put_item", TableName="plain", Item={"PK": s("p"), "a": value})
        r.call("get_item", TableName="plain", Key={"PK": s("p")})

    return run


VALUES = {
    "string": s("text"),
    "empty string": s(""),
    "unicode string": s("héllo 😀 \u0001 \"quoted\" \\ / \u2028 <&>"),
    "number": n("42"),
    "binary": b(b"\x00\xff"),
    "empty binary": b(b""),
    "true": TRUE,
    "false": FALSE,
    "null": NULL,
    "string set": ss("b", "a"),
    "string set with the empty string": ss("", "a"),
    "number set": ns(3, 1, 2),
    "binary set": bs(b"b", b"a"),
    "list": lst(s("a"), n(1), NULL, lst(), m()),
    "empty list": lst(),
    "map": m(a=s("a"), b=m(c=lst(n(1)))),
    "empty map": m(),
    "32 levels": None,
    "33 levels": None,
    # refused
    "no type": {},
    "two types": {"S": "a", "N": "1"},
    "null false": {"NULL": False},
    "empty string set": {"SS": []},
    "empty number set": {"NS": []},
    "empty binary set": {"BS": []},
    "duplicate strings": ss("a", "a"),
    "duplicate numbers": ns("1", "1.0"),
    "duplicate binaries": bs(b"a", b"a"),
    "bad number": n("abc"),
    "empty number": n(""),
    "bad number in a set": ns("1", "x"),
    "empty type in a list": lst(s("a"), {}),
    "empty set in a map": m(a={"SS": []}),
}


def nested(levels):
    value = s("deep")
    for _ in range(levels):
        value = lst(value)
    return value


VALUES["32 levels"], VALUES["33 levels"] = nested(31), nested(32)
for name, value in VALUES.items():
    case(f"item/value: {name}", put_get(value), PLAIN)


def one(operation, **request):
    return lambda r: r.call(operation, **request)


BAD_PUTS = {
    "no key": {"a": s("x")},
    "no range key": {"PK": s("p")},
    "wrong type of HASH": {"PK": n(1), "SK": s("s")},
    "wrong type of RANGE": {"PK": s("p"), "SK": n(1)},
    "empty HASH": {"PK": s(""), "SK": s("s")},
    "empty RANGE": {"PK": s("p"), "SK": s("")},
    "HASH of 2048 bytes": {"PK": s("p" * 2048), "SK": s("s")},
    "HASH of 2049 bytes": {"PK": s("p" * 2049), "SK": s("s")},
    "RANGE of 1024 bytes": {"PK": s("p"), "SK": s("s" * 1024)},
    "RANGE of 1025 bytes": {"PK": s("p"), "SK": s("s" * 1025)},
    "null HASH": {"PK": NULL, "SK": s("s")},
    "empty item": {},
}
for name, item in BAD_PUTS.items():
    case(f"put/key: {name}", one("put_item", TableName="pair", Item=item), PAIR)

BAD_INDEX_PUTS = {
    "index key": {"G1": s("g"), "G2": n(1)},
    "wrong type of index key": {"G1": n(1)},
    "wrong type of second index key": {"G1": s("g"), "G2": s("x")},
    "wrong type of local index key": {"L1": n(1)},
    "empty index key": {"G1": s("")},
    "empty local index key": {"L1": s("")},
    "null index key": {"G1": NULL},
}
for name, more in BAD_INDEX_PUTS.items():
    case(f"put/index key: {name}", one("put_item", TableName="indexed", Item={"PK": s("p"), "SK": s("s"), **more}), INDEXED)

case("put/binary empty key", one("put_item", TableName="bytes", Item={"PK": b(b""), "SK": b(b"s")}), BYTES)

KEYS = {
    "good": {"PK": s("p"), "SK": s("s")},
    "missing RANGE": {"PK": s("p")},
    "empty map": {},
    "too many": {"PK": s("p"), "SK": s("s"), "x": s("x")},
    "wrong name": {"PK": s("p"), "XX": s("s")},
    "wrong type": {"PK": s("p"), "SK": n(1)},
    "empty HASH": {"PK": s(""), "SK": s("s")},
    "empty RANGE": {"PK": s("p"), "SK": s("")},
    "long HASH": {"PK": s("p" * 2049), "SK": s("s")},
    "long RANGE": {"PK": s("p"), "SK": s("s" * 1025)},
    "no type": {"PK": {}, "SK": s("s")},
}
for name, k in KEYS.items():
    for operation in ("get_item", "delete_item", "update_item"):
        case(f"{operation}/key: {name}", one(operation, TableName="pair", Key=k), PAIR)

for operation, member in (("put_item", "Item"), ("get_item", "Key"), ("delete_item", "Key"), ("update_item", "Key")):
    key = {member: {"PK": s("p")}}
    case(f"{operation}/no such table", one(operation, TableName="absent", **key))
    case(f"{operation}/no table name", one(operation, **key))
    case(f"{operation}/empty table name", one(operation, TableName="", **key))
    case(f"{operation}/malformed table name", one(operation, TableName="a b!", **key))
    case(f"{operation}/no {member}", one(operation, TableName="plain"), PLAIN)
    case(f"{operation}/bad ReturnConsumedCapacity", one(operation, TableName="plain", ReturnConsumedCapacity="ALL", **key), PLAIN)
    if operation != "get_item":
        case(f"{operation}/bad ReturnValues", one(operation, TableName="plain", ReturnValues="SOME", **key), PLAIN)
        case(f"{operation}/bad ReturnItemCollectionMetrics", one(operation, TableName="plain", ReturnItemCollectionMetrics="X", **key), PLAIN)
        case(f"{operation}/two bad enums", one(operation, TableName="plain", ReturnValues="SOME", ReturnConsumedCapacity="ALL", **key), PLAIN)

for operation, member in (("put_item", "Item"), ("delete_item", "Key")):
    for values in ("NONE", "ALL_OLD", "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW"):

        def run(r, operation=operation, member=member, values=values):
            r.quiet("put_item", TableName="plain", Item={"PK": s("p"), "a": n(1)})
            r.call(operation, TableName="plain", ReturnValues=values, **{member: {"PK": s("p")}})
            r.call(operation, TableName="plain", ReturnValues=values, **{member: {"PK": s("q")}})
            r.call("scan", TableName="plain", unordered=True)

        case(f"{operation}/ReturnValues {values}", run, PLAIN)


def overwrite(r):
    r.call("put_item", TableName="plain", Item={"PK": s("p"), "a": n(1), "b": s("x")})
    r.call("put_item", TableName="plain", Item={"PK": s("p"), "c": n(2)}, ReturnValues="ALL_OLD")
    r.call("get_item", TableName="plain", Key={"PK": s("p")})
    r.call("get_item", TableName="plain", Key={"PK": s("p")}, ConsistentRead=True)
    r.call("delete_item", TableName="plain", Key={"PK": s("p")}, ReturnValues="ALL_OLD")
    r.call("delete_item", TableName="plain", Key={"PK": s("p")}, ReturnValues="ALL_OLD")
    r.call("get_item", TableName="plain", Key={"PK": s("p")})


case("item/life of an item", overwrite, PLAIN)


def numeric_keys(r):
    for sk in ("10", "1e1", "10.0", "-1", "0", "-0"):
        r.call("put_item", TableName="numbered", Item={"PK": s("p"), "SK": n(sk), "as": s(sk)}, ReturnValues="ALL_OLD")
    r.call("get_item", TableName="numbered", Key={"PK": s("p"), "SK": n("1.0e1")})
    r.call("query", TableName="numbered", KeyConditionExpression="PK = :p", ExpressionAttributeValues={":p": s("p")})


case("item/equal numbers are one key", numeric_keys, NUMBERED)


def binary_keys(r):
    for sk in (b"\x01", b"\xff", b"\x00", b"\x7f"):
        r.call("put_item", TableName="bytes", Item={"PK": b(b"p"), "SK": b(sk)})
    r.call("get_item", TableName="bytes", Key={"PK": b(b"p"), "SK": b(b"\xff")})
    r.call("query", TableName="bytes", KeyConditionExpression="PK = :p", ExpressionAttributeValues={":p": b(b"p")})


case("item/binary keys are ordered as unsigned bytes", binary_keys, BYTES)


def sizes(r):
    # 2 + 1 bytes of key, 1 byte of name: 409,600 in all, and one more.
    for length in (409_596, 409_597):
        r.call("put_item", TableName="plain", Item={"PK": s("p"), "a": s("x" * length)}, ReturnConsumedCapacity="TOTAL")
    r.quiet("put_item", TableName="plain", Item={"PK": s("q"), "a": s("x" * 300_000)})
    r.call("update_item", TableName="plain", Key={"PK": s("q")}, UpdateExpression="SET b = :b", ExpressionAttributeValues={":b": s("x" * 200_000)})


case("item/size limit", sizes, PLAIN)

PROJECTIONS = {
    "one": ("a", None),
    "several": ("a, b, #n", {"#n": "name"}),
    "missing": ("zz", None),
    "nested": ("mm.x, mm.y.z", None),
    "elements packed": ("ll[2], ll[0]", None),
    "sub-attributes merged": ("lm[1].a, lm[1].b", None),
    "key": ("PK", None),
    "tabs and newlines": ("a,\n\tb", None),
    "overlap": ("mm, mm.x", None),
    "equal": ("a, a", None),
    "conflict": ("mm.x, mm[0]", None),
    "reserved word": ("name", None),
    "reserved word in capitals": ("NAME", None),
    "empty": ("", None),
    "trailing comma": ("a,", None),
    "no comma": ("a b", None),
    "undefined name": ("#x", None),
    "unused name": ("a", {"#x": "x"}),
    "bad placeholder": ("a", {"x": "x"}),
    "placeholder with a dash": ("#a-b", {"#a-b": "x"}),
    "value": (":v", None),
    "function": ("size(a)", None),
    "negative index": ("ll[-1]", None),
    "index of a word": ("ll[x]", None),
    "index of a scalar": ("a[0]", None),
    "member of a list": ("ll.x", None),
    "name with a dot": ("#d", {"#d": "d.e"}),
}
RICH = {
    "PK": s("p"),
    "a": n(1),
    "b": s("two"),
    "name": s("n"),
    "mm": m(x=n(1), y=m(z=s("z"), w=s("w")), v=n(3)),
    "ll": lst(n(0), n(1), n(2)),
    "lm": lst(m(a=n(0)), m(a=n(1), b=n(2), c=n(3))),
    "d.e": s("dotted"),
}
for name, (expression, names) in PROJECTIONS.items():

    def project(r, expression=expression, names=names):
        r.quiet("put_item", TableName="plain", Item=RICH)
        more = {"ExpressionAttributeNames": names} if names else {}
        r.call("get_item", TableName="plain", Key={"PK": s("p")}, ProjectionExpression=expression, **more)

    case(f"get/projection: {name}", project, PLAIN)


def empty_names(r):
    key = {"PK": s("p")}
    r.call("get_item", TableName="plain", Key=key, ExpressionAttributeNames={})
    r.call("get_item", TableName="plain", Key=key, ExpressionAttributeNames={"#a": "a"})
    r.call("get_item", TableName="plain", Key=key, ProjectionExpression="a", ExpressionAttributeNames={})
    r.call("get_item", TableName="plain", Key=key, ProjectionExpression="a", AttributesToGet=["a"])
    r.call("put_item", TableName="plain", Item=key, ExpressionAttributeValues={":a": n(1)})
    r.call("put_item", TableName="plain", Item=key, ConditionExpression="a = :a", ExpressionAttributeValues={})
    r.call("put_item", TableName="plain", Item=key, ConditionExpression="attribute_exists(a)", ExpressionAttributeValues={})
    r.call("update_item", TableName="plain", Key=key, ExpressionAttributeValues={":a": n(1)})
    r.call("delete_item", TableName="plain", Key=key, ExpressionAttributeNames={"#a": "a"})


case("item/placeholders without an expression", empty_names, PLAIN)


def legacy_mixed(r):
    key = {"PK": s("p")}
    expected = {"a": {"Value": n(1)}}
    r.call("put_item", TableName="plain", Item=key, ConditionExpression="attribute_exists(a)", Expected=expected)
    r.call("update_item", TableName="plain", Key=key, UpdateExpression="REMOVE a", AttributeUpdates={"a": {"Action": "DELETE"}})
    r.call("delete_item", TableName="plain", Key=key, ConditionExpression="attribute_exists(a)", Expected=expected)
    r.call("scan", TableName="plain", FilterExpression="attribute_exists(a)", ScanFilter={"a": {"ComparisonOperator": "NULL"}})


case("item/legacy parameters beside expressions", legacy_mixed, PLAIN)


def capacity(r):
    for level in ("TOTAL", "INDEXES", "NONE"):
        more = {"TableName": "indexed", "ReturnConsumedCapacity": level}
        key = {"PK": s("p"), "SK": s("s")}
        r.call("put_item", Item={**key, "a": s("x" * 1500), "G1": s("g"), "G2": n(1), "L1": s("l")}, **more)
        r.call("get_item", Key=key, **more)
        r.call("get_item", Key=key, ConsistentRead=True, **more)
        r.call("get_item", Key={"PK": s("q"), "SK": s("s")}, **more)
        r.call("get_item", Key={"PK": s("q"), "SK": s("s")}, ConsistentRead=True, **more)
        r.call("update_item", Key=key, UpdateExpression="SET zz = :z", ExpressionAttributeValues={":z": n(1)}, **more)
        r.call("update_item", Key=key, UpdateExpression="SET G1 = :z", ExpressionAttributeValues={":z": s("h")}, **more)
        r.call("delete_item", Key=key, **more)
        r.call("delete_item", Key=key, **more)


case("item/consumed capacity", capacity, INDEXED)


SHAPES = {
    "no target": ("", b"{}"),
    "unknown operation": ("DynamoDB_20120810.FlyAway", b"{}"),
    "other version": ("DynamoDB_20111205.GetItem", b"{}"),
    "not JSON": ("DynamoDB_20120810.GetItem", b"{"),
    "empty body": ("DynamoDB_20120810.GetItem", b""),
    "a JSON array": ("DynamoDB_20120810.ListTables", b"[]"),
    "number for a string": ("DynamoDB_20120810.GetItem", b'{"TableName": 1}'),
    "string for a map": ("DynamoDB_20120810.GetItem", b'{"TableName": "plain", "Key": "x"}'),
    "list for a map": ("DynamoDB_20120810.GetItem", b'{"TableName": "plain", "Key": []}'),
    "string for a boolean": ("DynamoDB_20120810.GetItem", b'{"TableName": "plain", "ConsistentRead": "maybe"}'),
    "string for a number": ("DynamoDB_20120810.Scan", b'{"TableName": "plain", "Limit": "1"}'),
    "number for N": ("DynamoDB_20120810.PutItem", b'{"TableName": "plain", "Item": {"PK": {"N": 1}}}'),
    "bad base64": ("DynamoDB_20120810.PutItem", b'{"TableName": "plain", "Item": {"PK": {"S": "p"}, "a": {"B": "?"}}}'),
    "unknown member": ("DynamoDB_20120810.GetItem", b'{"TableName": "plain", "Key": {"PK": {"S": "p"}}, "Colour": "red"}'),
    "null members": ("DynamoDB_20120810.GetItem", b'{"TableName": "plain", "Key": {"PK": {"S": "p"}}, "ProjectionExpression": null, "ExpressionAttributeNames": null}'),
}
for name, (target, body) in SHAPES.items():
    case(f"json/{name}", lambda r, target=target, body=body: r.raw(target, body), PLAIN)
