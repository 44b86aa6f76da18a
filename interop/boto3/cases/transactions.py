"""TransactWriteItems and TransactGetItems."""

import uuid

from harness import case

from .fixtures import INDEXED, PAIR, PLAIN, n, s, ss


def put(k, condition=None, table="plain", values=None, returning=None, **item):
    action = {"TableName": table, "Item": {"PK": s(k), **item}}
    return {"Put": conditional(action, condition, values, returning)}


def update(k, expression, values=None, condition=None, returning=None, table="plain", names=None):
    action = {"TableName": table, "Key": {"PK": s(k)}, "UpdateExpression": expression}
    if names:
        action["ExpressionAttributeNames"] = names
    return {"Update": conditional(action, condition, values, returning)}


def delete(k, condition=None, values=None, returning=None):
    return {"Delete": conditional({"TableName": "plain", "Key": {"PK": s(k)}}, condition, values, returning)}


def check(k, condition, values=None, returning=None):
    return {"ConditionCheck": conditional({"TableName": "plain", "Key": {"PK": s(k)}}, condition, values, returning)}


def conditional(action, condition, values, returning):
    if condition is not None:
        action["ConditionExpression"] = condition
    if values:
        action["ExpressionAttributeValues"] = values
    if returning:
        action["ReturnValuesOnConditionCheckFailure"] = returning
    return action


NEW, OLD = "attribute_not_exists(PK)", "attribute_exists(PK)"
one = {":n": n(1)}
WRITES = {
    "one put": [put("x", a=n(1))],
    "all kinds": [put("x"), update("a", "ADD n :n", one), delete("b"), check("c", OLD)],
    "conditions hold": [put("x", NEW), update("a", "ADD n :n", one, OLD), delete("b", "n = :n", {":n": n(1)})],
    "update creates": [update("x", "SET a = if_not_exists(a, :n) ADD b :n", one)],
    "first fails": [put("a", NEW), put("x", NEW)],
    "second fails": [put("x", NEW), put("a", NEW)],
    "all fail": [put("a", NEW), check("x", OLD), delete("b", "n > :n", {":n": n(99)}), update("c", "ADD n :n", one, "attribute_not_exists(n)")],
    "failure returns the item": [put("a", NEW, returning="ALL_OLD"), put("y", OLD, returning="ALL_OLD"), update("b", "ADD n :n", one, "attribute_not_exists(n)", "ALL_OLD"), put("x")],
    "check returns the item": [check("a", NEW, returning="ALL_OLD"), delete("b", NEW, returning="ALL_OLD")],
    "failure with NONE": [put("a", NEW, returning="NONE")],
    "bad returning": [put("a", NEW, returning="SOME")],
    "item twice": [put("a"), delete("a")],
    "same put twice": [put("a"), put("a")],
    "check and update of one item": [check("a", OLD), update("a", "ADD n :n", one)],
    "no actions": [],
    "empty action": [{}],
    "two actions in one": [{**put("a"), **delete("b")}],
    "100 actions": [put(f"m{i}") for i in range(100)],
    "absent table": [put("x"), put("y", table="absent")],
    "no table name": [{"Put": {"Item": {"PK": s("x")}}}],
    "bad table name": [put("x", table="a!")],
    "no update expression": [{"Update": {"TableName": "plain", "Key": {"PK": s("a")}}}],
    "empty update expression": [update("a", "")],
    "no condition in a check": [{"ConditionCheck": {"TableName": "plain", "Key": {"PK": s("a")}}}],
    "empty condition": [put("a", "")],
    "condition syntax": [put("x"), put("a", "nonsense!")],
    "update syntax": [put("x"), update("a", "SET")],
    "unused value": [put("x", NEW, values={":n": n(1)})],
    "undefined value": [update("a", "SET n = :n")],
    "no key": [{"Put": {"TableName": "plain", "Item": {"a": n(1)}}}, put("x")],
    "wrong key type": [put("x"), {"Put": {"TableName": "plain", "Item": {"PK": n(1)}}}],
    "bad key of an update": [put("x"), {"Update": {"TableName": "plain", "Key": {"X": s("a")}, "UpdateExpression": "REMOVE a"}}],
    "bad key of a delete": [put("x"), {"Delete": {"TableName": "plain", "Key": {"PK": n(1)}}}],
    "empty key": [put("x"), put("")],
    "key update": [put("x"), update("a", "SET PK = :n", {":n": s("z")})],
    "operand type": [put("x"), update("a", "SET n = n + :n", {":n": s("z")})],
    "attribute type": [put("x"), update("a", "SET z = str + :n", one)],
    "missing attribute": [put("x"), update("a", "SET z = zz")],
    "missing attribute beside a failed condition": [check("a", NEW), update("b", "SET z = zz")],
    "document path": [put("x"), update("a", "SET zz.y = :n", one)],
    "add to a string": [put("x"), update("a", "ADD str :n", one)],
    "number range": [put("x"), update("a", "ADD n :n", {":n": n("9.9999999999999999999999999999999999999E+125")})],
    "bad number": [put("x", a=n("x"))],
    "empty set": [put("x", a={"SS": []})],
    "put too large": [put("x", a=s("x" * 409_600))],
    "update too large": [put("x"), update("a", "SET z = :n", {":n": s("x" * 409_500)})],
    "reserved word": [update("a", "SET name = :n", one)],
    "index key type": [put("x"), {"Put": {"TableName": "indexed", "Item": {"PK": s("p"), "SK": s("s"), "G1": n(1)}}}],
    "index key type of an update": [put("x"), {"Update": {"TableName": "indexed", "Key": {"PK": s("p"), "SK": s("s")}, "UpdateExpression": "SET G1 = :n", "ExpressionAttributeValues": one}}],
    "two tables": [put("x"), {"Put": {"TableName": "pair", "Item": {"PK": s("p"), "SK": s("s")}}}],
    "set operations": [update("a", "ADD st :n", {":n": ss("a")}), update("b", "DELETE st :n", {":n": ss("a")})],
}
for name, actions in WRITES.items():

    def write(r, actions=actions):
        for k in "abc":
            r.quiet("put_item", TableName="plain", Item={"PK": s(k), "n": n(1), "str": s("t")})
        r.call("transact_write_items", TransactItems=actions, ReturnConsumedCapacity="TOTAL")
        r.call("scan", TableName="plain", unordered=True)

    case(f"transact write/{name}", write, PLAIN, PAIR, INDEXED)


def too_many(r):
    # The message echoes the request, in a form that differs; what counts is the refusal.
    for count in (101,):
        try:
            r.client.transact_write_items(TransactItems=[put(f"m{i}") for i in range(count)])
        except r.client.exceptions.ClientError as e:
            error = e.response["Error"]
            assert error["Code"] == "ValidationException", error
            assert error["Message"].endswith("Member must have length less than or equal to 100"), error
        else:
            raise AssertionError("101 actions were accepted")


case("transact write/101 actions", too_many, PLAIN)


def tokens(r):
    def write(token, *actions):
        r.call("transact_write_items", TransactItems=list(actions), ClientRequestToken=token, ReturnConsumedCapacity="TOTAL")

    add = update("a", "ADD n :n", one)
    first, second, third = (uuid.uuid4().hex for _ in range(3))  # servers remember tokens
    write(first, add)
    write(first, add)
    write(first, update("a", "ADD n :n", {":n": n(2)}))
    write(first, add, put("x"))
    write(second, add)
    write(third, put("a", NEW))
    r.quiet("delete_item", TableName="plain", Key={"PK": s("a")})
    write(third, put("a", NEW))
    write(str(uuid.uuid4()), put("y"))  # 36 characters
    write("t" * 37, put("y"))
    write("", put("y"))
    r.call("scan", TableName="plain", unordered=True)


case("transact write/tokens", tokens, PLAIN)


def capacity(r):
    key = {"PK": s("p"), "SK": s("s")}
    item = {**key, "G1": s("g"), "G2": n(1), "L1": s("l"), "a": s("x" * 1500)}
    for level in ("TOTAL", "INDEXES", "NONE"):
        r.call("transact_write_items", TransactItems=[{"Put": {"TableName": "indexed", "Item": item}}, put("x")], ReturnConsumedCapacity=level, unordered=True)
        r.call("transact_get_items", TransactItems=[{"Get": {"TableName": "indexed", "Key": key}}, {"Get": {"TableName": "plain", "Key": {"PK": s("zz")}}}], ReturnConsumedCapacity=level)


case("transact/capacity", capacity, PLAIN, INDEXED)


def get(k, table="plain", **more):
    return {"Get": {"TableName": table, "Key": {"PK": s(k)}, **more}}


GETS = {
    "several": [get("a"), get("zz"), get("b")],
    "projection": [get("a", ProjectionExpression="n"), get("b", ProjectionExpression="#s", ExpressionAttributeNames={"#s": "str"}), get("c", ProjectionExpression="zz")],
    "twice": [get("a"), get("a")],
    "none": [],
    "empty": [{}],
    "absent table": [get("a"), get("a", "absent")],
    "bad key": [get("a"), {"Get": {"TableName": "plain", "Key": {"X": s("a")}}}],
    "bad key type": [get("a"), {"Get": {"TableName": "plain", "Key": {"PK": n(1)}}}],
    "empty key": [get("a"), get("")],
    "bad projection": [get("a", ProjectionExpression="n,")],
    "reserved word": [get("a", ProjectionExpression="name")],
    "unused name": [get("a", ProjectionExpression="n", ExpressionAttributeNames={"#x": "x"})],
    "no table name": [{"Get": {"Key": {"PK": s("a")}}}],
    "no key": [{"Get": {"TableName": "plain"}}],
}
for name, actions in GETS.items():

    def read(r, actions=actions):
        for k in "abc":
            r.quiet("put_item", TableName="plain", Item={"PK": s(k), "n": n(1), "str": s("t")})
        r.call("transact_get_items", TransactItems=actions)

    case(f"transact get/{name}", read, PLAIN)


def absent_members(r):
    r.call("transact_write_items")
    r.call("transact_get_items")
    r.call("transact_write_items", TransactItems=[put("x")], ReturnConsumedCapacity="X")


case("transact/parameters", absent_members, PLAIN)
