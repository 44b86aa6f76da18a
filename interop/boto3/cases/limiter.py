"""The calls of the rate limiter, as it writes them."""

from harness import case

from .fixtures import LIMITER, n, s

KEY = {"PK": s("ns1/BUCKET#user-1#api#0"), "SK": s("#STATE")}
BUCKET = {
    **KEY,
    "entity_id": s("user-1"), "resource": s("api"), "b_rpm_tk": n(5000), "b_rpm_cp": n(5000), "b_rpm_ra": n(5000), "b_rpm_rp": n(60000), "b_rpm_tc": n(0),
    "rf": n(1_700_000_000_000), "shard_count": n(1), "ttl": n(1_800_000_000),
    "GSI2PK": s("ns1/RESOURCE#api"), "GSI2SK": s("BUCKET#user-1#0"), "GSI3PK": s("ns1/ENTITY#user-1"), "GSI3SK": s("BUCKET#api#0"), "GSI4PK": s("ns1"), "GSI4SK": s("BUCKET#user-1#api#0"),
}  # fmt: skip
NAMES = {"#ttl": "ttl", "#tk": "b_rpm_tk", "#tc": "b_rpm_tc"}
SPECULATIVE = {
    "TableName": "limiter",
    "Key": KEY,
    "UpdateExpression": "SET #ttl = :ttl ADD #tk :neg, #tc :pos",
    "ConditionExpression": "attribute_exists(PK) AND #tk >= :t AND (attribute_not_exists(#ttl) OR #ttl > :now)",
    "ExpressionAttributeNames": NAMES,
    "ReturnValues": "ALL_NEW",
    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    "ReturnConsumedCapacity": "INDEXES",
}


def values(amount, now=1_750_000_000):
    return {":neg": n(-amount), ":pos": n(amount), ":t": n(amount), ":now": n(now), ":ttl": n(1_800_000_001)}


def speculative(r):
    r.call("update_item", **SPECULATIVE, ExpressionAttributeValues=values(1000))
    r.call("put_item", TableName="limiter", Item=BUCKET, ConditionExpression="attribute_not_exists(PK)", ReturnConsumedCapacity="INDEXES")
    r.call("put_item", TableName="limiter", Item=BUCKET, ConditionExpression="attribute_not_exists(PK)", ReturnConsumedCapacity="INDEXES")
    for amount in (1000, 3000, 2000, 1000, 1000):
        r.call("update_item", **SPECULATIVE, ExpressionAttributeValues=values(amount))
    r.call("update_item", **SPECULATIVE, ExpressionAttributeValues=values(0, now=1_900_000_000))


case("limiter/speculative write", speculative, LIMITER)


def refill(r):
    r.quiet("put_item", TableName="limiter", Item=BUCKET)
    more = {"TableName": "limiter", "Key": KEY, "ReturnValues": "ALL_NEW"}
    given = {":old": n(1_700_000_000_000), ":now": n(1_700_000_001_000), ":d": n(-500), ":floor": n(0)}
    r.call("update_item", UpdateExpression="SET rf = :now ADD b_rpm_tk :d REMOVE #ttl", ConditionExpression="rf = :old AND b_rpm_tk >= :floor", ExpressionAttributeNames={"#ttl": "ttl"}, ExpressionAttributeValues=given, **more)
    r.call("update_item", UpdateExpression="SET rf = :now ADD b_rpm_tk :d REMOVE #ttl", ConditionExpression="rf = :old AND b_rpm_tk >= :floor", ExpressionAttributeNames={"#ttl": "ttl"}, ExpressionAttributeValues=given, **more)
    r.call("update_item", UpdateExpression="ADD b_rpm_tk :d", ExpressionAttributeValues={":d": n(-9000)}, **more)
    r.call("update_item", UpdateExpression="SET shard_count = :new", ConditionExpression="shard_count = :old OR shard_count < :new", ExpressionAttributeValues={":old": n(1), ":new": n(2)}, **more)
    r.call("update_item", UpdateExpression="\n\t\tSET a = if_not_exists(a, :x),\n\t\t    b = if_not_exists(b, :y)\n\t\tADD #n :one\n", ExpressionAttributeNames={"#n": "count"}, ExpressionAttributeValues={":x": s("x"), ":y": n(2), ":one": n(1)}, **more)
    r.call("update_item", UpdateExpression="ADD members :m", ExpressionAttributeValues={":m": {"SS": ["one"]}}, **more)
    r.call("update_item", UpdateExpression="DELETE members :m", ExpressionAttributeValues={":m": {"SS": ["one"]}}, **more)
    r.call("update_item", UpdateExpression="REMOVE #r", ConditionExpression="#r <= :zero", ExpressionAttributeNames={"#r": "b_rpm_tk"}, ExpressionAttributeValues={":zero": n(0)}, **more)


case("limiter/refill and the other updates", refill, LIMITER)


def transactions(r):
    meta = {"PK": s("ns1/ENTITY#user-1"), "SK": s("#META")}
    for _ in range(2):
        r.call(
            "transact_write_items",
            TransactItems=[
                {"Put": {"TableName": "limiter", "Item": BUCKET, "ConditionExpression": "attribute_not_exists(PK)"}},
                {"Update": {"TableName": "limiter", "Key": meta, "UpdateExpression": "SET a = if_not_exists(a, :x) ADD #n :one", "ExpressionAttributeNames": {"#n": "count"}, "ExpressionAttributeValues": {":x": s("x"), ":one": n(1)}}},
            ],
            ReturnConsumedCapacity="INDEXES",
        )
    r.call("batch_get_item", RequestItems={"limiter": {"Keys": [KEY, meta, {"PK": s("ns1/ENTITY#user-1"), "SK": s("#CONFIG#api")}]}}, unordered=True)
    r.call("scan", TableName="limiter", FilterExpression="begins_with(PK, :p) AND begins_with(SK, :s)", ExpressionAttributeValues={":p": s("ns1/"), ":s": s("#ST")})
    for i in (1, 2, 3, 4):
        r.call("query", TableName="limiter", IndexName=f"GSI{i}", KeyConditionExpression=f"GSI{i}PK = :p", ExpressionAttributeValues={":p": BUCKET.get(f"GSI{i}PK", s("x"))}, ReturnConsumedCapacity="INDEXES")
    r.call("batch_write_item", RequestItems={"limiter": [{"DeleteRequest": {"Key": KEY}}, {"DeleteRequest": {"Key": meta}}]}, ReturnConsumedCapacity="INDEXES")


case("limiter/transactions and clean-up", transactions, LIMITER)
