"""Query and Scan: key conditions, order, paging, indexes, Select, filters, errors."""

from harness import case

from .fixtures import INDEXED, LIMITER, NUMBERED, PAIR, PLAIN, b, n, s


def fill(r, table="pair", count=10):
    for i in range(count):
        r.quiet("put_item", TableName=table, Item={"PK": s("p"), "SK": s(f"s{i:02}"), "a": n(i), "b": s("x" * i)})
    r.quiet("put_item", TableName=table, Item={"PK": s("q"), "SK": s("s00")})


VALUES = {":p": s("p"), ":s": s("s03"), ":t": s("s06"), ":pre": s("s0"), ":n": n(3), ":none": s("zz"), ":e": s(""), ":q": s("q")}


def query(expression, table="pair", definition=PAIR, names=None, **more):
    def run(r):
        fill(r, table)
        values = {k: v for k, v in VALUES.items() if k in words(expression + more.get("FilterExpression", ""))}
        given = {"ExpressionAttributeValues": values} if values else {}
        if names:
            given["ExpressionAttributeNames"] = names
        r.call("query", TableName=table, KeyConditionExpression=expression, **given, **more)

    return run


def words(expression):
    import re

    return set(re.findall(r":\w+", expression))


GOOD = [
    "PK = :p", ":p = PK", "PK = :none", "PK = :p AND SK = :s", "PK = :p AND SK < :s", "PK = :p AND SK <= :s", "PK = :p AND SK > :s", "PK = :p AND SK >= :s", "PK = :p AND :s < SK", "PK = :p AND SK BETWEEN :s AND :t",
    "PK = :p AND begins_with(SK, :pre)", "SK = :s AND PK = :p", "(PK = :p) AND (SK = :s)", "(PK = :p AND SK = :s)", "PK = :p and SK between :s and :t", "PK=:p AND begins_with ( SK , :s )", "PK = :p AND SK >= :none",
]  # fmt: skip
for expression in GOOD:
    case(f"query/{expression!r}", query(expression), PAIR)
    case(f"query/{expression!r} backwards", query(expression, ScanIndexForward=False), PAIR)

BAD = [
    "", "PK", "PK =", "PK < :p", "PK <> :p", "PK > :p AND SK = :s", "SK = :s", "a = :n", "PK = :p AND a = :n", "PK = :p AND SK = :s AND a = :n", "PK = :p AND SK > :s AND SK < :t", "PK = :p AND PK = :q", "PK = :p OR SK = :s", "NOT PK = :p",
    "PK = :p AND NOT SK = :s", "PK = :p AND SK <> :s", "PK = :p AND SK IN (:s, :t)", "PK IN (:p)", "PK = :p AND contains(SK, :s)", "begins_with(PK, :p)", "PK = :p AND attribute_exists(SK)", "PK = :p AND size(SK) = :n", "PK = :n",
    "PK = :p AND SK = :n", "PK = :p AND begins_with(SK, :n)", "PK = :p AND SK BETWEEN :t AND :s", "PK = :p AND SK BETWEEN :s AND :n", "PK.x = :p", "PK = :p AND SK[0] = :s", "PK = :undefined", "#k = :p", "((PK = :p))", "PK BETWEEN :p AND :q", "PK = :p AND",
    "PK = SK", "PK = :p AND SK = PK", ":p = :q", "PK = :p AND begins_with(:s, SK)", "PK = :p SK = :s", "PK = :e", "PK = :p AND SK = :e", "PK = :p AND begins_with(SK, :e)", "PK = :p AND SK < :e", "foo(PK)", "PK = :p AND begins_with(SK)", "name = :p", "attribute_type(PK, :p)",
]  # fmt: skip
for expression in BAD:
    case(f"query error/{expression!r}", query(expression), PAIR)


def no_condition(r):
    r.call("query", TableName="pair")
    r.call("query", TableName="absent", KeyConditionExpression="PK = :p", ExpressionAttributeValues={":p": s("p")})
    r.call("query", TableName="pair", KeyConditionExpression="PK = :p", KeyConditions={"PK": {"ComparisonOperator": "EQ", "AttributeValueList": [s("p")]}}, ExpressionAttributeValues={":p": s("p")})
    r.call("query", TableName="pair", KeyConditions={"PK": {"ComparisonOperator": "EQ", "AttributeValueList": [s("p")]}})
    r.call("query", TableName="pair", ExpressionAttributeValues={":p": s("p")})
    r.call("query", TableName="pair", KeyConditionExpression="PK = :p", ExpressionAttributeValues={":p": s("p"), ":x": s("x")})
    r.call("query", TableName="pair", KeyConditionExpression="PK = :p", ExpressionAttributeValues={":p": s("p")}, ExpressionAttributeNames={"#x": "x"})
    r.call("query", TableName="plain", KeyConditionExpression="PK = :p AND SK = :s", ExpressionAttributeValues={":p": s("p"), ":s": s("s")})


case("query/parameters", no_condition, PAIR, PLAIN)

OPTIONS = {
    "limit": {"Limit": 3},
    "limit backwards": {"Limit": 3, "ScanIndexForward": False},
    "limit of all": {"Limit": 10},
    "limit of more": {"Limit": 11},
    "limit 0": {"Limit": 0},
    "limit -1": {"Limit": -1},
    "count": {"Select": "COUNT"},
    "all": {"Select": "ALL_ATTRIBUTES"},
    "projected without an index": {"Select": "ALL_PROJECTED_ATTRIBUTES"},
    "specific without a projection": {"Select": "SPECIFIC_ATTRIBUTES"},
    "specific": {"Select": "SPECIFIC_ATTRIBUTES", "ProjectionExpression": "a"},
    "count with a projection": {"Select": "COUNT", "ProjectionExpression": "a"},
    "all with a projection": {"Select": "ALL_ATTRIBUTES", "ProjectionExpression": "a"},
    "bad select": {"Select": "SOME"},
    "projection": {"ProjectionExpression": "SK, a"},
    "filter": {"FilterExpression": "a > :n"},
    "filter and limit": {"FilterExpression": "a > :n", "Limit": 5},
    "filter on HASH": {"FilterExpression": "PK = :p"},
    "filter on RANGE": {"FilterExpression": "SK = :s"},
    "filter on nested key": {"FilterExpression": "SK.x = :s"},
    "filter syntax": {"FilterExpression": "a >"},
    "empty filter": {"FilterExpression": ""},
    "capacity": {"ReturnConsumedCapacity": "TOTAL"},
    "capacity by index": {"ReturnConsumedCapacity": "INDEXES"},
    "consistent": {"ConsistentRead": True, "ReturnConsumedCapacity": "TOTAL"},
    "unknown index": {"IndexName": "nope"},
    "short index name": {"IndexName": "x"},
    "start": {"ExclusiveStartKey": {"PK": s("p"), "SK": s("s03")}},
    "start backwards": {"ExclusiveStartKey": {"PK": s("p"), "SK": s("s03")}, "ScanIndexForward": False},
    "start at an absent item": {"ExclusiveStartKey": {"PK": s("p"), "SK": s("s03x")}},
    "start of another HASH": {"ExclusiveStartKey": {"PK": s("q"), "SK": s("s03")}},
    "start without RANGE": {"ExclusiveStartKey": {"PK": s("p")}},
    "start with another name": {"ExclusiveStartKey": {"PK": s("p"), "SK": s("a"), "X": s("x")}},
    "start with another type": {"ExclusiveStartKey": {"PK": s("p"), "SK": n(1)}},
    "empty start": {"ExclusiveStartKey": {}},
}
for name, options in OPTIONS.items():
    case(f"query/option {name}", query("PK = :p", **options), PAIR)
case("query/start outside the RANGE test", query("PK = :p AND SK > :s", ExclusiveStartKey={"PK": s("p"), "SK": s("s01")}), PAIR)
case("query/start inside the RANGE test", query("PK = :p AND SK > :s", ExclusiveStartKey={"PK": s("p"), "SK": s("s05")}), PAIR)


def paged(operation, limit, **more):
    def run(r):
        fill(r, count=7)
        start = {}
        for _ in range(12):
            reply = r.call(operation, TableName="pair", Limit=limit, **start, **more)
            if "LastEvaluatedKey" not in reply:
                break
            start = {"ExclusiveStartKey": reply["LastEvaluatedKey"]}

    return run


for limit in (1, 2, 3, 7, 8):
    for forward in (True, False):
        case(
            f"query/pages of {limit} {'forward' if forward else 'backward'}",
            paged("query", limit, KeyConditionExpression="PK = :p", ExpressionAttributeValues={":p": s("p")}, ScanIndexForward=forward),
            PAIR,
        )


def megabyte(r):
    for i in range(5):
        r.quiet("put_item", TableName="pair", Item={"PK": s("p"), "SK": s(f"{i}"), "a": s("x" * 300_000)})
    given = {"TableName": "pair", "KeyConditionExpression": "PK = :p", "ExpressionAttributeValues": {":p": s("p")}, "ProjectionExpression": "SK", "ReturnConsumedCapacity": "TOTAL"}
    reply = r.call("query", **given)
    r.call("query", ExclusiveStartKey=reply["LastEvaluatedKey"], **given)


case("query/pages of a megabyte", megabyte, PAIR)


def numeric_range(r):
    for sk in ("-10", "-9.5", "0", "1e-5", "2", "10", "1e3"):
        r.quiet("put_item", TableName="numbered", Item={"PK": s("p"), "SK": n(sk)})
    given = {"TableName": "numbered"}
    r.call("query", KeyConditionExpression="PK = :p", ExpressionAttributeValues={":p": s("p")}, **given)
    r.call("query", KeyConditionExpression="PK = :p AND SK BETWEEN :a AND :b", ExpressionAttributeValues={":p": s("p"), ":a": n("-9.50"), ":b": n("10.0")}, **given)
    r.call("query", KeyConditionExpression="PK = :p AND begins_with(SK, :a)", ExpressionAttributeValues={":p": s("p"), ":a": n("1")}, **given)
    r.call("query", KeyConditionExpression="PK = :p AND SK = :a", ExpressionAttributeValues={":p": s("p"), ":a": s("1")}, **given)


case("query/numeric RANGE", numeric_range, NUMBERED)


def fill_index(r):
    for i in range(6):
        item = {"PK": s(f"p{i % 2}"), "SK": s(f"s{i}"), "a": n(i), "b": s("b"), "c": s("c"), "L1": s(f"l{9 - i}")}
        if i != 3:
            item["G1"] = s("g")
        if i not in (3, 4):
            item["G2"] = n(i // 2)
        r.quiet("put_item", TableName="indexed", Item=item)


def index_query(name, expression, values, unordered=False, **more):
    def run(r):
        fill_index(r)
        r.call("query", TableName="indexed", IndexName=name, KeyConditionExpression=expression, ExpressionAttributeValues=values, unordered=unordered, **more)

    return run


g, p = {":g": s("g")}, {":p": s("p0")}
INDEXES = {
    "all": ("all", "G1 = :g AND G2 > :n", {**g, ":n": n(1)}, {}),
    "all by HASH, one range value": ("all", "G1 = :g AND G2 = :n", {**g, ":n": n(2)}, {}),
    "keys only": ("keys", "G1 = :g", g, {}),
    "include": ("some", "G1 = :g", g, {}),
    "include backwards": ("some", "G1 = :g", g, {"ScanIndexForward": False}),
    "local": ("local", "PK = :p", p, {}),
    "local range": ("local", "PK = :p AND L1 > :l", {**p, ":l": s("l6")}, {}),
    "local keys only": ("localkeys", "PK = :p", p, {}),
    "local keys only, all attributes": ("localkeys", "PK = :p", p, {"Select": "ALL_ATTRIBUTES", "ReturnConsumedCapacity": "INDEXES"}),
    "local keys only, others projected": ("localkeys", "PK = :p", p, {"ProjectionExpression": "a, b"}),
    "local consistent": ("local", "PK = :p", p, {"ConsistentRead": True, "ReturnConsumedCapacity": "INDEXES"}),
    "global consistent": ("all", "G1 = :g", g, {"ConsistentRead": True}),
    "keys only, all attributes": ("keys", "G1 = :g", g, {"Select": "ALL_ATTRIBUTES"}),
    "include, all attributes": ("some", "G1 = :g", g, {"Select": "ALL_ATTRIBUTES"}),
    "all, all attributes": ("some", "G1 = :g", g, {"Select": "ALL_PROJECTED_ATTRIBUTES"}),
    "keys only, others projected": ("keys", "G1 = :g", g, {"ProjectionExpression": "a"}),
    "count": ("some", "G1 = :g", g, {"Select": "COUNT", "ReturnConsumedCapacity": "INDEXES"}),
    "table key in the condition": ("all", "PK = :p", p, {}),
    "filter on an index key": ("all", "G1 = :g", g, {"FilterExpression": "G2 = :n", "ExpressionAttributeValues": {**g, ":n": n(1)}}),
    "filter on the table key": ("some", "G1 = :g", g, {"FilterExpression": "PK = :p", "ExpressionAttributeValues": {**g, **p}}),
    "filter on an unprojected attribute": ("keys", "G1 = :g", g, {"FilterExpression": "attribute_exists(c)"}),
    "limit": ("some", "G1 = :g", g, {"Limit": 2}),
    "start": ("some", "G1 = :g", g, {"ExclusiveStartKey": {"G1": s("g"), "PK": s("p1"), "SK": s("s1")}}),
    "start without the index key": ("some", "G1 = :g", g, {"ExclusiveStartKey": {"PK": s("p1"), "SK": s("s1")}}),
    "capacity": ("some", "G1 = :g", g, {"ReturnConsumedCapacity": "TOTAL"}),
}
for name, (index, expression, values, more) in INDEXES.items():
    more = {"ExpressionAttributeValues": values, **more}
    values = more.pop("ExpressionAttributeValues")
    case(f"query/index {name}", index_query(index, expression, values, unordered=index == "keys", **more), INDEXED)

SCANS = {
    "all": {},
    "count": {"Select": "COUNT"},
    "filter": {"FilterExpression": "a > :n", "ExpressionAttributeValues": {":n": n(2)}},
    "projection": {"ProjectionExpression": "PK"},
    "capacity": {"ReturnConsumedCapacity": "TOTAL"},
    "capacity by index": {"ReturnConsumedCapacity": "INDEXES"},
    "consistent": {"ConsistentRead": True, "ReturnConsumedCapacity": "TOTAL"},
    "index": {"IndexName": "all"},
    "index keys": {"IndexName": "keys"},
    "index some": {"IndexName": "some"},
    "local index": {"IndexName": "local"},
    "index capacity": {"IndexName": "keys", "ReturnConsumedCapacity": "INDEXES"},
    "index all attributes": {"IndexName": "keys", "Select": "ALL_ATTRIBUTES"},
    "unknown index": {"IndexName": "nope"},
    "consistent index": {"IndexName": "all", "ConsistentRead": True},
    "consistent local index": {"IndexName": "local", "ConsistentRead": True},
    "limit 0": {"Limit": 0},
    "projected without an index": {"Select": "ALL_PROJECTED_ATTRIBUTES"},
    "specific without a projection": {"Select": "SPECIFIC_ATTRIBUTES"},
    "count with a projection": {"Select": "COUNT", "ProjectionExpression": "a"},
    "bad select": {"Select": "SOME"},
    "one segment": {"Segment": 0, "TotalSegments": 1},
    "segment alone": {"Segment": 0},
    "total alone": {"TotalSegments": 2},
    "segment too high": {"Segment": 5, "TotalSegments": 5},
    "segment negative": {"Segment": -1, "TotalSegments": 5},
    "no segments": {"Segment": 0, "TotalSegments": 0},
    "too many segments": {"Segment": 0, "TotalSegments": 1000001},
    "bad start": {"ExclusiveStartKey": {"PK": s("p")}},
    "filter syntax": {"FilterExpression": "a > > :n"},
    "unused value": {"FilterExpression": "attribute_exists(a)", "ExpressionAttributeValues": {":n": n(1)}},
    "values without a filter": {"ExpressionAttributeValues": {":n": n(1)}},
    "names without a filter": {"ExpressionAttributeNames": {"#n": "n"}},
}
for name, options in SCANS.items():

    def scan(r, options=options):
        fill_index(r)
        r.call("scan", TableName="indexed", unordered=True, **options)

    case(f"scan/{name}", scan, INDEXED)


def segments(r):
    fill_index(r)
    seen = []
    for segment in range(3):
        reply = r.client.scan(TableName="indexed", Segment=segment, TotalSegments=3)
        seen += [(i["PK"]["S"], i["SK"]["S"]) for i in reply["Items"]]
    assert sorted(seen) == sorted((f"p{i % 2}", f"s{i}") for i in range(6)), seen


case("scan/segments cover the table once", segments, INDEXED)


def scan_pages(r):
    fill_index(r)
    seen, start = [], {}
    while True:
        reply = r.client.scan(TableName="indexed", Limit=2, **start)
        seen += [i["SK"]["S"] for i in reply["Items"]]
        if "LastEvaluatedKey" not in reply:
            break
        start = {"ExclusiveStartKey": reply["LastEvaluatedKey"]}
    assert sorted(seen) == [f"s{i}" for i in range(6)], seen


case("scan/pages cover the table once", scan_pages, INDEXED)


def limiter_index(r):
    for i in range(3):
        r.quiet("put_item", TableName="limiter", Item={"PK": s(f"ns/BUCKET#e{i}#r#0"), "SK": s("#STATE"), "GSI2PK": s("ns/RESOURCE#r"), "GSI2SK": s(f"BUCKET#e{i}#0")})
    r.call("query", TableName="limiter", IndexName="GSI2", KeyConditionExpression="GSI2PK = :pk AND begins_with(GSI2SK, :p)", ExpressionAttributeValues={":pk": s("ns/RESOURCE#r"), ":p": s("BUCKET#")})
    r.call("query", TableName="limiter", IndexName="GSI1", KeyConditionExpression="GSI1PK = :pk", ExpressionAttributeValues={":pk": s("ns/RESOURCE#r")})


case("query/limiter's sparse indexes", limiter_index, LIMITER)
