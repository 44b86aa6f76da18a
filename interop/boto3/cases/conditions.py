"""Condition expressions: truth of every operator on every type, syntax, errors."""

from harness import case

from .fixtures import FALSE, NULL, PAIR, PLAIN, TRUE, b, bs, lst, m, n, ns, s, ss

ITEM = {
    "PK": s("p"),
    "str": s("hello"),
    "num": n(10),
    "bin": b(b"hello"),
    "yes": TRUE,
    "nope": FALSE,
    "nul": NULL,
    "sset": ss("a", "b"),
    "nset": ns(1, 2),
    "bset": bs(b"a", b"b"),
    "lis": lst(s("a"), n(1), m(x=n(1))),
    "mp": m(x=n(1), y=lst(n(1), n(2))),
    "str2": s("hello"),
}
VALUES = {
    ":s": s("hello"), ":n": n(10), ":b": b(b"hello"), ":t": TRUE, ":nul": NULL, ":ss": ss("b", "a"), ":ns": ns("2.0", 1),
    ":bs": bs(b"b", b"a"), ":l": lst(s("a"), n(1), m(x=n("1.0"))), ":m": m(y=lst(n(1), n(2)), x=n(1)),
    ":s2": s("hello!"), ":n2": n("10.5"), ":he": s("he"), ":one": n(1), ":a": s("a"), ":empty": s(""), ":zero": n(0), ":S": s("S"),
    ":bhe": b(b"he"), ":five": n(5), ":Q": s("Q"), ":ssa": ss("a"), ":nada": s("zz"),
}  # fmt: skip


def condition(expression, names=None, values=None):
    def run(r):
        r.quiet("put_item", TableName="plain", Item=ITEM)
        used = {k: v for k, v in VALUES.items() if k in words(expression)} if values is None else values
        more = {"ExpressionAttributeValues": used} if used else {}
        if names:
            more["ExpressionAttributeNames"] = names
        r.call("put_item", TableName="plain", Item={**ITEM, "new": n(1)}, ConditionExpression=expression, **more)

    return run


def words(expression):
    import re

    return set(re.findall(r":\w+", expression))


TRUTH = [
    # equality by type
    *(f"{a} = {v}" for a, v in (("str", ":s"), ("num", ":n"), ("bin", ":b"), ("yes", ":t"), ("nul", ":nul"), ("sset", ":ss"), ("nset", ":ns"), ("bset", ":bs"), ("lis", ":l"), ("mp", ":m"))),
    "str = :n", "str <> :n", "str = str2", "str <> str2", "str = :s2", "num <> :n", "nope = :t", "nothere = :s", "nothere <> :s", ":s = str", ":s = :s",
    "nothere = gone", "nothere <> gone",
    # order
    "str < :s2", "str <= :s", "str > :he", "str >= :s2", "num < :n2", "num >= :n", "num > :n2", "bin > :bhe", "bin <= :b", "str < :n", "num < :s",
    "nothere < :n", "yes < :n", "sset < :s", "num < str",
    # ordering placeholders that have no order
    "yes < :t", "sset > :ss", "lis < :l", "mp >= :m", "nul <= :nul",
    # BETWEEN, IN
    "num BETWEEN :one AND :n", "num BETWEEN :n AND :n2", "num BETWEEN :one AND :five", "str BETWEEN :he AND :s2", "str BETWEEN :one AND :five",
    "nothere BETWEEN :one AND :n", "num BETWEEN :n AND :one", "num BETWEEN :one AND :s", "num BETWEEN :ss AND :ns", ":five BETWEEN :one AND num",
    "num between :one and :n", "NOT num BETWEEN :one AND :five",
    "num IN (:one, :n)", "num IN (:one)", "str IN (:n, :s)", "nothere IN (:s)", "num IN (str, num)", "sset IN (:ss)", "num IN ()", "num IN :n", "num in (:n)",
    # functions
    "attribute_exists(str)", "attribute_exists(nothere)", "attribute_exists(mp.x)", "attribute_exists(mp.y[1])", "attribute_exists(mp.y[2])", "attribute_exists(lis[2].x)",
    "attribute_not_exists(nothere)", "attribute_not_exists(str)", "attribute_not_exists(mp.z)", "attribute_exists(str.x)", "attribute_exists(str[0])", "attribute_exists(nul)",
    "attribute_type(str, :S)", "attribute_type(num, :S)", "attribute_type(nothere, :S)", "attribute_type(str, :Q)", "attribute_type(str, :n)", "attribute_type(str, num)", "attribute_type(:s, :S)",
    "begins_with(str, :he)", "begins_with(str, :nada)", "begins_with(str, :empty)", "begins_with(nothere, :he)", "begins_with(num, :he)", "begins_with(str, :n)", "begins_with(bin, :bhe)",
    "begins_with(str, str2)", "begins_with(str, :bhe)", "begins_with(:s, :he)", "begins_with(str, :ss)",
    "contains(str, :he)", "contains(str, :nada)", "contains(sset, :a)", "contains(sset, :nada)", "contains(nset, :one)", "contains(nset, :a)", "contains(bset, :b)", "contains(lis, :one)",
    "contains(lis, :a)", "contains(lis, :nada)", "contains(str, :one)", "contains(bin, :bhe)", "contains(nothere, :a)", "contains(num, :one)", "contains(mp, :a)", "contains(sset, :ssa)", "contains(str, str)", "contains(:s, :he)",
    "contains(str, str2)", "contains(lis, :m)",
    "size(str) = :five", "size(bin) = :five", "size(sset) > :one", "size(lis) > :one", "size(mp) > :one", "size(num) > :zero", "size(yes) > :zero", "size(nul) > :zero", "size(nothere) > :zero",
    "size(nothere) <> :zero", "size(str) <> :five", ":five = size(str)", "size(str) = size(bin)", "size(str) BETWEEN :one AND :n", "size(str) IN (:five)", "size(:s) = :five", "size(mp.y) > :one", "size(str) = :s",
    # structure
    "str = :s AND num = :n", "str = :s2 AND num = :n", "str = :s2 OR num = :n", "NOT str = :s2", "NOT NOT str = :s", "not str = :s2 and num = :n",
    "str = :s2 OR str = :s AND num = :one", "(str = :s2 OR str = :s) AND num = :one", "(str = :s)", "NOT (str = :s OR num = :one)", "(NOT str = :s2) AND (num = :n)",
    "str = :s\n\tAND\r\nnum = :n", "str=:s AND num<>:one", "mp.x = :one", "lis[0] = :a", "mp . y [ 0 ] = :one", "lis [1] = :one",
]  # fmt: skip
for expression in TRUTH:
    case(f"condition/{expression!r}", condition(expression), PLAIN)

ERRORS = [
    "", " ", "INVALID SYNTAX HERE", "!!! INVALID !!!", "str", "str =", "= :s", "str = :s AND", "str = :s num = :n", "(str = :s", "str = :s)", "()",
    "((str = :s))", "(((str = :s)))", "((str = :s) AND num = :n)", "((str = :s AND num = :n))", "str == :s", "str != :s", "str = 'hello'", "num = 10", "str = :undefined", "#undefined = :s",
    "name = :s", "Count = :s", "TTL = :s", "mp.name = :s", "status = :s", "foo(str)", "ATTRIBUTE_EXISTS(str)", "Size(str) = :five", "attribute_exists(:s)", "attribute_exists()", "attribute_exists(str, num)",
    "attribute_exists str", "size(str)", "attribute_exists(str) = :s", "begins_with(str)", "begins_with(str, :he, :s)", "contains(str)", "attribute_type(str)", "size(str, num) = :one", "size() = :one",
    "if_not_exists(str, :s) = :s", "list_append(lis, :l) = :l", "size(size(str)) = :one", "begins_with(size(str), :he)", "str = str", "str < str", "num BETWEEN num AND :n", "num IN (num)", "contains(lis, lis)", "begins_with(str, str)",
    "num BETWEEN :one", "num BETWEEN :one, :n", "num IN", "num IN (:n", "num IN (:n,)", "NOT", "AND", "a.b.c.", ".a = :s", "a..b = :s", "a[ = :s", "a[] = :s", "a[1 = :s", "a[1.5] = :s",
    "#a#b = :s", ": = :s", "# = :s", "str = :s;", "str = :s -- x", "str => :s", "str ! :s", "1str = :s", "_x = :s", "str = :s AND OR num = :n", "str = :s OR OR num = :n", "NOT (str = :s", "str + :s = :s",
    "attribute_exists(str", "attribute_exists str)", "str,num", "str = :s, num = :n", "SET = :s", "between = :s", "str = (:s)", "(str) = :s", "attribute_exists((str))", "héllo = :s", "str = \"x\"",
]  # fmt: skip
for expression in ERRORS:
    case(f"condition error/{expression!r}", condition(expression), PLAIN)

for count in (100, 101):
    case(
        f"condition/IN with {count} operands",
        condition("num IN (" + ", ".join(f":v{i}" for i in range(count)) + ")", values={f":v{i}": n(i) for i in range(count)}),
        PLAIN,
    )
for count in (150, 151):  # with the ANDs 299 and 301 operators
    case(f"condition/{count} comparisons", condition(" AND ".join(["num = :n"] * count)), PLAIN)
case("condition/4096 bytes", condition("num = :n" + " " * (4096 - 8)), PLAIN)
case("condition/4097 bytes", condition("num = :n" + " " * (4097 - 8)), PLAIN)

PLACEHOLDERS = {
    "unused name": ("num = :n", {"#a": "a"}, {":n": n(10)}),
    "unused value": ("num = :n", None, {":n": n(10), ":x": n(1)}),
    "two unused values": ("num = :n", None, {":n": n(10), ":x": n(1), ":y": n(1)}),
    "name with a dash": ("num = :n", {"#a-b": "a"}, {":n": n(10)}),
    "name without #": ("num = :n", {"a": "a"}, {":n": n(10)}),
    "only #": ("num = :n", {"#": "a"}, {":n": n(10)}),
    "value with a dash": ("num = :n", None, {":n": n(10), ":a-b": n(1)}),
    "value without :": ("num = :n", None, {":n": n(10), "a": n(1)}),
    "empty name": ("#a = :n", {"#a": ""}, {":n": n(10)}),
    "bad value": ("num = :n", None, {":n": n("x")}),
    "empty set": ("num = :n", None, {":n": {"SS": []}}),
    "value of no type": ("num = :n", None, {":n": {}}),
    "value of two types": ("num = :n", None, {":n": {"S": "a", "N": "1"}}),
    "null false": ("num = :n", None, {":n": {"NULL": False}}),
    "duplicates": ("num = :n", None, {":n": ss("a", "a")}),
    "name used twice": ("#a = :n AND #a = :n", {"#a": "num"}, {":n": n(10)}),
    "digits and underscores": ("#1_a = :_1", {"#1_a": "num"}, {":_1": n(10)}),
    "dots in a name": ("attribute_not_exists(#a)", {"#a": "mp.x"}, None),
    "reserved word by alias": ("attribute_not_exists(#a)", {"#a": "ttl"}, None),
    "alias of the key": ("#a = :s", {"#a": "PK"}, {":s": s("p")}),
}
for name, (expression, names, values) in PLACEHOLDERS.items():
    case(f"condition placeholder/{name}", condition(expression, names, values or {}), PLAIN)


def failure(r):
    r.quiet("put_item", TableName="pair", Item={"PK": s("p"), "SK": s("s"), "a": n(1)})
    absent, present = {"PK": s("q"), "SK": s("s")}, {"PK": s("p"), "SK": s("s")}
    for k in (absent, present):
        for how in ("ALL_OLD", "NONE"):
            more = {"TableName": "pair", "ReturnValuesOnConditionCheckFailure": how, "ConditionExpression": "a = :z", "ExpressionAttributeValues": {":z": n(9)}}
            r.call("put_item", Item={**k, "b": n(1)}, **more)
            r.call("delete_item", Key=k, **more)
            r.call("update_item", Key=k, UpdateExpression="SET c = :z", **more)
    r.call("put_item", TableName="pair", Item=present, ConditionExpression="attribute_not_exists(PK)")
    r.call("put_item", TableName="pair", Item=absent, ConditionExpression="attribute_not_exists(PK)")
    r.call("put_item", TableName="pair", Item=absent, ConditionExpression="attribute_not_exists(PK)", ReturnValuesOnConditionCheckFailure="SOME")
    r.call("delete_item", TableName="pair", Key=present, ConditionExpression="attribute_exists(PK)")
    r.call("delete_item", TableName="pair", Key=present, ConditionExpression="attribute_exists(PK)")
    r.call("scan", TableName="pair", unordered=True)


case("condition/failure returns the item", failure, PAIR)
