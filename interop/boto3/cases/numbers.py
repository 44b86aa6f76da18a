"""Numbers: what is one, how it is written back, arithmetic, ordering."""

from harness import case

from .fixtures import PLAIN, n, ns, s

FORMS = [
    "0", "-0", "+5", "00.10", ".5", "5.", "1e2", "1E2", "1e+2", "1e-7", "1.50", "-1.50", "1E3", "100", "123456789012345678901234567890",
    "1" * 38, "1" * 39, "1" + "0" * 50, "0." + "0" * 50 + "1", "9.9999999999999999999999999999999999999E+125",
    "1E125", "1E126", "1E-130", "1E-131", "-1E-130", "-9.9999999999999999999999999999999999999E+125", "-1E126", "0E500", "1e999999999999",
    "1.2345678901234567890123456789012345678", "1.23456789012345678901234567890123456789",
    " 1", "1 ", "0x1", "1_0", "NaN", "Infinity", "1e", "e1", ".", "-", "1.2.3", "--1", "1e1.5", "１", "1,0", "+",
]  # fmt: skip
for form in FORMS:

    def store(r, form=form):
        r.call("put_item", TableName="plain", Item={"PK": s("p"), "a": n(form)})
        r.call("get_item", TableName="plain", Key={"PK": s("p")})

    case(f"number/form {form[:60]!r}", store, PLAIN)

SUMS = [
    ("0.1", "+", "0.2"), ("1", "-", "1"), ("5", "-", "7.5"), ("9" * 38, "+", "0"), ("9" * 38, "+", "1"), ("1e40", "+", "1"),
    ("1e37", "+", "0.1"), ("1e36", "+", "0.1"), ("9e125", "+", "9e125"), ("9e125", "-", "-9e125"), ("1e-130", "-", "1e-130"),
    ("1e-130", "+", "1e-130"), ("1.5", "+", "1.5"), ("9223372036854775807", "+", "1"), ("-9223372036854775808", "-", "1"),
    ("1e-100", "+", "1e-101"), ("123456789.123456789", "+", "0.000000001"), ("0.3", "-", "0.1"),
]  # fmt: skip
for left, operator, right in SUMS:

    def add(r, left=left, operator=operator, right=right):
        r.quiet("put_item", TableName="plain", Item={"PK": s("p"), "a": n(left)})
        more = {"TableName": "plain", "Key": {"PK": s("p")}, "ExpressionAttributeValues": {":v": n(right)}, "ReturnValues": "ALL_NEW"}
        r.call("update_item", UpdateExpression=f"SET b = a {operator} :v", **more)
        if operator == "+":
            r.call("update_item", UpdateExpression="ADD a :v", **more)
        r.call("get_item", TableName="plain", Key={"PK": s("p")})

    case(f"number/{left[:40]} {operator} {right}", add, PLAIN)


def equal(r):
    r.quiet("put_item", TableName="plain", Item={"PK": s("p"), "a": n("10"), "t": ns("1", "2.50")})
    for value in ("10", "10.0", "1e1", "+10", "10.1", "9.99"):
        for operator in ("=", "<>", "<", "<=", ">", ">="):
            r.call("scan", TableName="plain", FilterExpression=f"a {operator} :v", ExpressionAttributeValues={":v": n(value)}, Select="COUNT")
    for value in (ns("2.5", "1.0"), ns("1"), ns("1", "2.5", "3")):
        r.call("scan", TableName="plain", FilterExpression="t = :v", ExpressionAttributeValues={":v": value}, Select="COUNT")
    for value in ("2.5", "2.500", "25e-1", "3"):
        r.call("scan", TableName="plain", FilterExpression="contains(t, :v)", ExpressionAttributeValues={":v": n(value)}, Select="COUNT")


case("number/comparison is by value", equal, PLAIN)
