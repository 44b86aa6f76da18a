"""BatchGetItem and BatchWriteItem."""

from harness import case

from .fixtures import INDEXED, PAIR, PLAIN, n, s


def fill(r, count=5):
    for i in range(count):
        r.quiet("put_item", TableName="plain", Item={"PK": s(f"p{i}"), "a": n(i), "b": s("b")})


def keys(count, prefix="p"):
    return [{"PK": s(f"{prefix}{i}")} for i in range(count)]


GETS = {
    "some": {"plain": {"Keys": keys(7)}},
    "projection": {"plain": {"Keys": keys(3), "ProjectionExpression": "a"}},
    "projection by name": {"plain": {"Keys": keys(3), "ProjectionExpression": "#a", "ExpressionAttributeNames": {"#a": "a"}}},
    "consistent": {"plain": {"Keys": keys(3), "ConsistentRead": True}},
    "two tables": {"plain": {"Keys": keys(2)}, "pair": {"Keys": [{"PK": s("p"), "SK": s("s")}]}},
    "100 keys": {"plain": {"Keys": keys(100)}},
    "101 keys": {"plain": {"Keys": keys(101)}},
    "none": {"plain": {"Keys": []}},
    "no Keys": {"plain": {}},
    "no tables": {},
    "duplicates": {"plain": {"Keys": keys(2) + keys(1)}},
    "bad key": {"plain": {"Keys": [{"PK": n(1)}]}},
    "wrong name": {"plain": {"Keys": [{"X": s("p")}]}},
    "empty key": {"plain": {"Keys": [{"PK": s("")}]}},
    "absent table": {"absent": {"Keys": keys(1)}},
    "one table absent": {"plain": {"Keys": keys(1)}, "absent": {"Keys": keys(1)}},
    "bad table name": {"a!": {"Keys": keys(1)}},
    "bad projection": {"plain": {"Keys": keys(1), "ProjectionExpression": "a,"}},
    "unused name": {"plain": {"Keys": keys(1), "ProjectionExpression": "a", "ExpressionAttributeNames": {"#x": "x"}}},
}
for name, items in GETS.items():

    def get(r, items=items):
        fill(r)
        r.call("batch_get_item", RequestItems=items, ReturnConsumedCapacity="TOTAL", unordered=True)

    case(f"batch get/{name}", get, PLAIN, PAIR)


def put(i, **more):
    return {"PutRequest": {"Item": {"PK": s(f"p{i}"), "a": n(i), **more}}}


def delete(i):
    return {"DeleteRequest": {"Key": {"PK": s(f"p{i}")}}}


WRITES = {
    "puts and deletes": {"plain": [put(1), put(9), delete(0), delete(99)]},
    "two tables": {"plain": [put(1)], "pair": [{"PutRequest": {"Item": {"PK": s("p"), "SK": s("s")}}}]},
    "25": {"plain": [put(i) for i in range(25)]},
    "26": {"plain": [put(i) for i in range(26)]},
    "26 over two tables": {"plain": [put(i) for i in range(13)], "pair": [{"PutRequest": {"Item": {"PK": s("p"), "SK": s(str(i))}}} for i in range(13)]},
    "none": {"plain": []},
    "no tables": {},
    "duplicates": {"plain": [put(1), delete(1)]},
    "equal puts": {"plain": [put(1), put(1)]},
    "neither put nor delete": {"plain": [{}]},
    "both put and delete": {"plain": [{**put(1), **delete(2)}]},
    "missing key": {"plain": [put(5), {"PutRequest": {"Item": {"a": n(1)}}}]},
    "wrong key type": {"plain": [put(5), {"PutRequest": {"Item": {"PK": n(1)}}}]},
    "empty key": {"plain": [put(5), {"PutRequest": {"Item": {"PK": s("")}}}]},
    "bad key of a delete": {"plain": [put(5), {"DeleteRequest": {"Key": {"X": s("1")}}}]},
    "bad value": {"plain": [put(5), put(6, z={"SS": []})]},
    "bad number": {"plain": [put(5), put(6, z=n("x"))]},
    "item too large": {"plain": [put(5), put(6, z=s("x" * 409_600))]},
    "absent table": {"absent": [put(1)]},
    "one table absent": {"plain": [put(5)], "absent": [put(1)]},
    "bad index key": {"plain": [put(5)], "indexed": [{"PutRequest": {"Item": {"PK": s("p"), "SK": s("s"), "G1": n(1)}}}]},
    "empty item": {"plain": [{"PutRequest": {"Item": {}}}]},
    "no Item": {"plain": [{"PutRequest": {}}]},
}
for name, items in WRITES.items():

    def write(r, items=items):
        fill(r, 3)
        r.call("batch_write_item", RequestItems=items, ReturnConsumedCapacity="TOTAL", unordered=True)
        r.call("scan", TableName="plain", unordered=True)

    case(f"batch write/{name}", write, PLAIN, PAIR, INDEXED)


def by_index(r):
    item = {"PK": s("p"), "SK": s("s"), "G1": s("g"), "G2": n(1), "L1": s("l"), "a": s("x" * 1500)}
    r.call("batch_write_item", RequestItems={"indexed": [{"PutRequest": {"Item": item}}]}, ReturnConsumedCapacity="INDEXES")
    r.call("batch_get_item", RequestItems={"indexed": {"Keys": [{"PK": s("p"), "SK": s("s")}]}}, ReturnConsumedCapacity="INDEXES")
    r.call("batch_write_item", RequestItems={"indexed": [{"DeleteRequest": {"Key": {"PK": s("p"), "SK": s("s")}}}]}, ReturnConsumedCapacity="INDEXES")


case("batch/capacity by index", by_index, INDEXED)


def absent_members(r):
    r.raw("DynamoDB_20120810.BatchGetItem", b"{}")
    r.raw("DynamoDB_20120810.BatchWriteItem", b"{}")
    r.call("batch_get_item", RequestItems={"plain": {"Keys": keys(1)}}, ReturnConsumedCapacity="X")
    r.call("batch_write_item", RequestItems={"plain": [put(1)]}, ReturnItemCollectionMetrics="X")


case("batch/parameters", absent_members, PLAIN)
