"""Update expressions and the values they return."""

from harness import case

from .fixtures import INDEXED, NULL, PLAIN, TRUE, b, bs, lst, m, n, ns, s, ss

ITEM = {
    "PK": s("p"),
    "n": n(5),
    "k": n(7),
    "str": s("text"),
    "ss": ss("a", "b"),
    "ns": ns(1, 2),
    "bs": bs(b"a"),
    "ll": lst(n(0), n(1), n(2)),
    "lm": lst(m(a=n(1)), m(a=n(2), s=ss("a"), l=lst(n(1), n(2))), m(a=n(4))),
    "mm": m(a=n(1), b=m(c=s("c")), l=lst(n(1))),
    "nul": NULL,
}
VALUES = {
    ":n": n(3), ":s": s("x"), ":ss": ss("b", "c"), ":ssa": ss("a", "b"), ":ns": ns(2, 3), ":bs": bs(b"b"), ":l": lst(s("new")), ":m": m(z=n(1)), ":t": TRUE,
    ":nul": NULL, ":zero": n(0), ":neg": n(-8), ":ea": ss("zz"), ":b": b(b"x"), ":el": lst(), ":v": s("value"), ":w": n(9),
}  # fmt: skip


def used(expression):
    import re

    return {k: v for k, v in VALUES.items() if k in set(re.findall(r":\w+", expression))}


def update(expression, names=None, values=None, key="p", returning="ALL_NEW"):
    def run(r):
        r.quiet("put_item", TableName="plain", Item=ITEM)
        given = used(expression) if values is None else values
        more = {"ExpressionAttributeValues": given} if given else {}
        if names:
            more["ExpressionAttributeNames"] = names
        r.call("update_item", TableName="plain", Key={"PK": s(key)}, UpdateExpression=expression, ReturnValues=returning, **more)
        r.call("get_item", TableName="plain", Key={"PK": s(key)})

    return run


GOOD = [
    "SET n = :n", "SET fresh = :s", "set n = :n remove str", "SET n = k, k = n", "SET n = :n, k = n", "SET n = n + :n", "SET n = n - :n", "SET n = :n - n", "SET n = n + k", "SET n = :n + :w",
    "SET n = (n + :n)", "SET a = (:n)", "SET n = if_not_exists(n, :zero)", "SET z = if_not_exists(z, :zero)", "SET z = if_not_exists(z, :zero) + :n", "SET n = if_not_exists(n, :zero) + :n",
    "SET z = if_not_exists(nul, :n)", "SET z = if_not_exists(y, if_not_exists(n, :n))", "SET ll = list_append(ll, :l)", "SET ll = list_append(:l, ll)", "SET z = list_append(if_not_exists(z, :el), :l)", "SET z = list_append(:l, :el)",
    "SET ll[1] = :s", "SET ll[9] = :s", "SET ll[9] = :s, ll[7] = :n, ll[3] = :t", "SET mm.a = :s", "SET mm.fresh = :m", "SET mm.b.c = :n", "SET mm.l[0] = :s", "SET z = mm.b", "SET z = ll[2]", "SET str = str",
    "SET z = :nul", "SET z = :m", "SET z = :ss", "SET z = :b",
    "REMOVE n", "REMOVE nothere", "REMOVE n, str, k", "REMOVE ll[0]", "REMOVE ll[0], ll[1]", "REMOVE ll[2], ll[0]", "REMOVE ll[0], ll[1], ll[2]", "REMOVE ll[9]", "REMOVE mm.a", "REMOVE mm.zz", "REMOVE mm.b.c", "REMOVE mm.l[0]",
    "REMOVE lm[0], lm[1].a", "REMOVE lm[1].a, lm[0]", "REMOVE lm[1].l[0], lm[0]", "REMOVE lm[0], lm[2].a SET lm[1].a = :s", "REMOVE lm[0] DELETE lm[1].s :ssa", "REMOVE lm[0] ADD lm[1].a :n", "SET lm[5] = :s, lm[1].a = :n REMOVE lm[0]", "REMOVE mm, lm[0], ll[0]",
    "REMOVE ll[0] SET ll[1] = :s", "REMOVE ll[0] SET ll[5] = :s",
    "ADD n :n", "ADD n :neg", "ADD z :n", "ADD ss :ss", "ADD ns :ns", "ADD bs :bs", "ADD z :ss", "ADD mm.a :n", "ADD mm.z :n", "ADD ll[0] :n", "ADD n :n, k :w", "ADD z :ns, n :n",
    "DELETE ss :ss", "DELETE ss :ssa", "DELETE ss :ea", "DELETE ns :ns", "DELETE bs :bs", "DELETE z :ss",
    "SET z = :s ADD n :n REMOVE str DELETE ss :ss", "DELETE ss :ss REMOVE str ADD n :n SET z = n", "SET\tz = :s\n\tADD\n n :n", "ADD n :n SET z = n", "SET z = :s,y = :n",
]  # fmt: skip
for expression in GOOD:
    case(f"update/{expression!r}", update(expression), PLAIN)
    case(f"update/{expression!r} returns what changed", update(expression, returning="UPDATED_NEW"), PLAIN)
    case(f"update/{expression!r} returns what was", update(expression, returning="UPDATED_OLD"), PLAIN)

for expression in ("SET z = :s", "REMOVE z", "ADD n :n", "ADD ss :ss", "DELETE ss :ss", "SET z = if_not_exists(z, :n)", "SET z = n", "SET mm.a = :n", "SET ll[0] = :n", "REMOVE mm.a", "REMOVE ll[0]", "ADD mm.a :n", "SET n = n + :n"):
    for returning in ("ALL_NEW", "UPDATED_NEW", "ALL_OLD", "UPDATED_OLD", "NONE"):
        case(f"update/on nothing {expression!r} {returning}", update(expression, key="absent", returning=returning), PLAIN)

for returning in ("ALL_OLD", "NONE", "SOME"):
    case(f"update/ReturnValues {returning}", update("SET n = :n", returning=returning), PLAIN)

EVALUATION_ERRORS = [
    "SET z = nothere", "SET z = nothere + :n", "SET z = n + nothere", "SET z = mm.zz", "SET z = ll[9]", "SET z = str + :n", "SET z = n + str", "SET z = ss - :n", "SET zz.a = :s", "SET zz[0] = :s", "SET str.a = :s",
    "SET str[0] = :s", "SET ll.a = :s", "SET mm[0] = :s", "SET mm.zz.y = :s", "SET z = list_append(str, :l)", "SET z = list_append(nothere, :l)", "SET z = list_append(:l, n)", "SET z = if_not_exists(zz, yy)",
    "REMOVE zz.a", "REMOVE str.a", "REMOVE zz[0]", "REMOVE mm.zz.y", "ADD str :n", "ADD ss :n", "ADD n :ss", "ADD ss :ns", "ADD ll :n", "ADD mm :n", "ADD zz.a :n", "ADD nul :n",
    "DELETE n :ss", "DELETE ss :ns", "DELETE ll :ss", "DELETE mm.zz.a :ss", "DELETE str.a :ss", "DELETE ll.a :ss", "DELETE mm[0] :ss",
    "SET z = :s, PK = :s", "REMOVE PK", "ADD PK :n", "SET PK.a = :s", "DELETE PK :ss",
]  # fmt: skip
for expression in EVALUATION_ERRORS:
    case(f"update error/{expression!r}", update(expression), PLAIN)

PARSE_ERRORS = [
    "", " ", "INVALID", "SET", "SET n", "SET n =", "SET n = :n,", "SET n :n", "SET = :n", "SET n = :n k = :w", "SET n = :n SET k = :w", "SET n = :n, n = :w", "REMOVE n REMOVE k", "ADD n :n ADD k :w", "DELETE ss :ss DELETE ns :ns",
    "SET n = n + :n + :w", "SET n = n - :n + :w", "SET n = n * :n", "SET n = n / :n", "SET n = +:n", "SET n = -n", "SET n = 5", "SET n = 'x'", "SET n = :n AND k = :w",
    "SET mm = :m, mm.a = :n", "SET mm.a = :n REMOVE mm", "SET mm.a = :n, mm.a.b = :w", "REMOVE n, n", "SET n = :n REMOVE n", "SET n = :n ADD n :w", "SET mm.a = :n, mm[0] = :w", "REMOVE ll[0], ll[0]", "SET ll[0] = :n, ll = :l",
    "SET n = :undefined", "SET #undefined = :n", "SET name = :n", "SET ttl = :n", "REMOVE Status", "ADD count :n", "SET mm.value = :n", "SET n = size(str)", "SET n = foo(:n)", "SET n = if_not_exists(n)", "SET n = if_not_exists(n, :n, :w)",
    "SET n = if_not_exists(:n, :w)", "SET n = list_append(ll)", "SET n = list_append(ll, :l, :el)", "SET n = attribute_exists(n)", "SET n = contains(str, :s)", "SET n = IF_NOT_EXISTS(n, :n)", "SET if_not_exists(n, :n) = :w", "SET z = list_append(:s, :l)",
    "SET z = list_append(:l, :n)", "SET z = :s + :n", "SET z = :n + :s", "SET z = :l + :n", "SET z = :ss - :n", "SET z = :t - :n", "SET z = n + :m",
    "ADD n", "ADD n n", "ADD n = :n", "ADD n k", "ADD n :s", "ADD n :l", "ADD n :m", "ADD n :t", "ADD n :nul", "ADD n :b", "ADD :n n", "ADD n :n :w", "DELETE ss", "DELETE n :n", "DELETE ss :s", "DELETE ss :l", "DELETE ss ss",
    "REMOVE", "REMOVE n,", "REMOVE :n", "REMOVE n str", "REMOVE n = :n", "REMOVE size(n)", "SET n = ((:n))", "SET n = ((n + :n))", "SET n = (n", "SET n[] = :n", "SET n[x] = :n", "SET ll[-1] = :n", "SET n. = :n", "FOO n = :n", "SET n = :n FOO k", "SET n := :n",
    "SET n == :n", "n = :n", ", SET n = :n", "SET , n = :n", "SET z = if_not_exists(n, :n) + if_not_exists(k, :w) + :n", "SET z = (n + :n) - :w",
]  # fmt: skip
for expression in PARSE_ERRORS:
    case(f"update syntax/{expression!r}", update(expression), PLAIN)

PLACEHOLDERS = {
    "unused name": ("SET n = :n", {"#a": "a"}, {":n": n(1)}),
    "unused value": ("SET n = :n", None, {":n": n(1), ":x": n(1)}),
    "unused both": ("SET n = :n", {"#a": "a"}, {":n": n(1), ":x": n(1)}),
    "no values": ("SET n = :n", None, {}),
    "bad value": ("SET n = :n", None, {":n": n("x")}),
    "overflow": ("SET n = :n", None, {":n": n("1e126")}),
    "39 digits": ("SET n = :n", None, {":n": n("1" * 39)}),
    "empty set": ("SET n = :n", None, {":n": {"SS": []}}),
    "duplicates": ("ADD ss :n", None, {":n": ss("q", "q")}),
    "alias of the key": ("SET #k = :n", {"#k": "PK"}, {":n": s("p")}),
    "two aliases of one name": ("SET #a = :n, #b = :n", {"#a": "z", "#b": "z"}, {":n": n(1)}),
    "numbered aliases": ("ADD #a0 :a0, #a1 :a1", {"#a0": "b_rpm-x_tk", "#a1": "b_a.b/c_tk"}, {":a0": n(-1), ":a1": n(1)}),
    "alias with a dash": ("SET #a-b = :n", {"#a-b": "z"}, {":n": n(1)}),
    "alias of a nested name": ("SET mm.#a = :n", {"#a": "value"}, {":n": n(1)}),
    "alias with dots is one name": ("SET #a = :n", {"#a": "mm.a"}, {":n": n(1)}),
    "4097 bytes": ("SET n = :n" + " " * 4087, None, {":n": n(1)}),
    "name of 255 bytes": ("SET #a = :n", {"#a": "x" * 255}, {":n": n(1)}),
    "long attribute name": ("SET #a = :n", {"#a": "x" * 65536}, {":n": n(1)}),
}
for name, (expression, names, values) in PLACEHOLDERS.items():
    case(f"update placeholder/{name}", update(expression, names, values), PLAIN)


def conditional(r):
    r.quiet("put_item", TableName="plain", Item=ITEM)
    for condition, value in (("n = :w", 9), ("n = :w", 5), ("attribute_not_exists(z) AND n >= :w", 5), ("attribute_not_exists(z)", None), ("n >= :w", 0)):
        values = {":n": n(1)} | ({":w": n(value)} if value is not None else {})
        r.call("update_item", TableName="plain", Key={"PK": s("p")}, UpdateExpression="SET z = :n ADD n :n", ConditionExpression=condition, ExpressionAttributeValues=values, ReturnValues="ALL_NEW", ReturnValuesOnConditionCheckFailure="ALL_OLD")
    r.call("update_item", TableName="plain", Key={"PK": s("new")}, UpdateExpression="SET z = :n", ConditionExpression="attribute_exists(PK)", ExpressionAttributeValues={":n": n(1)})
    r.call("get_item", TableName="plain", Key={"PK": s("new")})
    r.call("update_item", TableName="plain", Key={"PK": s("p")}, ConditionExpression="attribute_exists(PK)", ReturnValues="ALL_NEW")
    r.call("update_item", TableName="plain", Key={"PK": s("bare")}, ReturnValues="ALL_NEW")
    r.call("update_item", TableName="plain", Key={"PK": s("bare")}, ReturnValues="UPDATED_NEW")
    r.call("get_item", TableName="plain", Key={"PK": s("bare")})


case("update/conditions", conditional, PLAIN)

INDEX_UPDATES = {
    "into the index": ("SET G1 = :g", {":g": s("h")}),
    "wrong type": ("SET G1 = :g", {":g": n(1)}),
    "empty": ("SET G1 = :g", {":g": s("")}),
    "second key": ("SET G2 = :g", {":g": n(5)}),
    "wrong type of second key": ("SET G2 = :g", {":g": s("x")}),
    "wrong type of local key": ("SET L1 = :g", {":g": n(1)}),
    "out of the index": ("REMOVE G1", None),
    "number by ADD": ("ADD G2 :g", {":g": n(5)}),
    "set by ADD": ("ADD L1 :g", {":g": ss("a")}),
    "null": ("SET G1 = :g", {":g": NULL}),
}
for name, (expression, values) in INDEX_UPDATES.items():

    def index_update(r, expression=expression, values=values):
        key = {"PK": s("p"), "SK": s("s")}
        r.quiet("put_item", TableName="indexed", Item={**key, "G1": s("g"), "a": n(1), "z": n(2)})
        more = {"ExpressionAttributeValues": values} if values else {}
        r.call("update_item", TableName="indexed", Key=key, UpdateExpression=expression, ReturnConsumedCapacity="INDEXES", **more)
        for index in ("all", "keys", "some", "local", "localkeys"):
            r.call("scan", TableName="indexed", IndexName=index)

    case(f"update/index key: {name}", index_update, INDEXED)

LEGACY = {
    "put": {"n": {"Action": "PUT", "Value": n(1)}},
    "default action": {"n": {"Value": n(1)}},
    "add": {"n": {"Action": "ADD", "Value": n(1)}},
    "delete": {"n": {"Action": "DELETE"}},
    "delete from set": {"ss": {"Action": "DELETE", "Value": ss("a")}},
    "add to set": {"ss": {"Action": "ADD", "Value": ss("z")}},
    "add to list": {"ll": {"Action": "ADD", "Value": lst(s("z"))}},
}
for name, updates in LEGACY.items():

    def legacy(r, updates=updates):
        r.quiet("put_item", TableName="plain", Item=ITEM)
        r.call("update_item", TableName="plain", Key={"PK": s("p")}, AttributeUpdates=updates, ReturnValues="ALL_NEW")

    case(f"update/legacy {name}", legacy, PLAIN)
