"""Filter expressions and reserved words."""

from harness import case

from .fixtures import PLAIN, n, s


def reserved(r):
    for word in ("ttl", "status", "resource", "window", "name", "cascade", "action", "timestamp", "count", "counter", "limit", "capacity", "value", "key", "data", "type", "Zone", "ABORT", "hash", "Year", "abc", "limits", "ttl2", "entity"):
        r.call("update_item", TableName="plain", Key={"PK": s("p")}, UpdateExpression=f"SET {word} = :v", ExpressionAttributeValues={":v": n(1)})


case("expression/reserved words", reserved, PLAIN)

FILTERS = ["a > :v", "a > :v AND attribute_exists(b)", "PK = :s", "begins_with(PK, :s)", "NOT a = :v", "zz = :v", "size(PK) > :v", "", "a >", "(a > :v)", "((a > :v))", "contains(b, :s)"]
for expression in FILTERS:

    def scan(r, expression=expression):
        for i in range(5):
            r.quiet("put_item", TableName="plain", Item={"PK": s(f"p{i}"), "a": n(i), "b": s(f"xp{i}")})
        values = {k: v for k, v in {":v": n(2), ":s": s("p1")}.items() if k in expression}
        more = {"ExpressionAttributeValues": values} if values else {}
        r.call("scan", TableName="plain", FilterExpression=expression, unordered=True, **more)
        r.call("scan", TableName="plain", FilterExpression=expression, Select="COUNT", **more)

    case(f"filter/{expression!r}", scan, PLAIN)
