"""Streams: what becomes of a table's changes, and how they are read."""

from harness import case

from .fixtures import n, s, table

VIEWS = ("KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES")


def streamed(view="NEW_AND_OLD_IMAGES"):
    return {**table("streamed", ["PK", "SK"], {"PK": "S", "SK": "S"}), "StreamSpecification": {"StreamEnabled": True, "StreamViewType": view}}


def arn(r):
    return r.quiet("describe_table", TableName="streamed")["Table"]["LatestStreamArn"]


def shard(r, stream):
    return r.streams.quiet("describe_stream", StreamArn=stream)["StreamDescription"]["Shards"][0]["ShardId"]


def iterator(r, stream, kind="TRIM_HORIZON", **more):
    return r.streams.quiet("get_shard_iterator", StreamArn=stream, ShardId=shard(r, stream), ShardIteratorType=kind, **more)["ShardIterator"]


def records(r, at, **more):
    return r.streams.call("get_records", ShardIterator=at, **more)


def item(sk, **attributes):
    return {"PK": s("p"), "SK": s(sk), **attributes}


def changes(r):
    """Every way of writing, with and without an effect."""
    put = {"TableName": "streamed"}
    r.quiet("put_item", **put, Item=item("a", v=n("1")))
    r.quiet("put_item", **put, Item=item("a", v=n("1.0")))
    r.quiet("put_item", **put, Item=item("a", v=n("2"), w=s("x")))
    r.quiet("update_item", **put, Key=item("b"), UpdateExpression="SET v = :v", ExpressionAttributeValues={":v": n("5")})
    r.quiet("update_item", **put, Key=item("b"), UpdateExpression="SET v = :v", ExpressionAttributeValues={":v": n("5")})
    r.quiet("update_item", **put, Key=item("b"), UpdateExpression="ADD v :v REMOVE x", ExpressionAttributeValues={":v": n("-7")})
    r.quiet("delete_item", **put, Key=item("a"))
    r.quiet("delete_item", **put, Key=item("a"))
    r.quiet(
        "transact_write_items",
        TransactItems=[
            {"Put": {**put, "Item": item("t", v=n("1"))}},
            {"Update": {**put, "Key": item("b"), "UpdateExpression": "SET v = :v", "ExpressionAttributeValues": {":v": n("-2")}}},
            {"ConditionCheck": {**put, "Key": item("none"), "ConditionExpression": "attribute_not_exists(PK)"}},
        ],
    )
    r.quiet("batch_write_item", RequestItems={"streamed": [{"PutRequest": {"Item": item("c", l={"L": [n("1"), {"NULL": True}]}, b={"B": b"\0\xff"}, ss={"SS": ["x"]}, m={"M": {"k": {"BOOL": False}}})}}]})


def view(r):
    changes(r)
    stream = arn(r)
    page = records(r, iterator(r, stream))
    records(r, page["NextShardIterator"])


for kind in VIEWS:
    case(f"streams/{kind}", view, streamed(kind))


def describe(r):
    stream = arn(r)
    r.streams.call("describe_stream", StreamArn=stream)
    r.streams.call("describe_stream", StreamArn=stream, ExclusiveStartShardId=shard(r, stream))
    r.streams.call("describe_stream", StreamArn=stream, ExclusiveStartShardId="x")
    r.streams.call("describe_stream", StreamArn=stream, Limit=0)
    r.streams.call("describe_stream", StreamArn=stream, Limit=101)
    r.streams.call("describe_stream", StreamArn=stream, ShardFilter={"Type": "CHILD_SHARDS", "ShardId": shard(r, stream)})
    r.streams.call("describe_stream", StreamArn="x")
    r.streams.call("describe_stream", StreamArn=stream + "9")
    r.streams.call("describe_stream")


def listing(r):
    r.streams.call("list_streams", TableName="no-such-table")
    r.streams.call("list_streams", TableName="streamed", Limit=0)
    r.streams.call("list_streams", TableName="streamed", Limit=101)


def iterators(r):
    changes(r)
    stream = arn(r)
    seen = r.streams.quiet("get_records", ShardIterator=iterator(r, stream))["Records"]
    second = seen[1]["dynamodb"]["SequenceNumber"]
    records(r, iterator(r, stream, "AT_SEQUENCE_NUMBER", SequenceNumber=second), Limit=2)
    records(r, iterator(r, stream, "AFTER_SEQUENCE_NUMBER", SequenceNumber=second), Limit=1)
    latest = iterator(r, stream, "LATEST")
    records(r, latest)
    r.quiet("delete_item", TableName="streamed", Key=item("b"))
    records(r, latest)
    get = {"StreamArn": stream, "ShardId": shard(r, stream)}
    refused = [
        {},
        {"StreamArn": stream},
        {**get, "ShardIteratorType": "AT_SEQUENCE_NUMBER"},
        {**get, "ShardIteratorType": "AT_SEQUENCE_NUMBER", "SequenceNumber": "1"},
        {**get, "ShardIteratorType": "TRIM_HORIZON", "SequenceNumber": second},
        {**get, "ShardIteratorType": "LATEST", "StreamArn": "x"},
        {**get, "ShardIteratorType": "LATEST", "ShardId": "shardId-00000000000000000000-aaaaaaaa"},
    ]
    for request in refused:
        r.streams.call("get_shard_iterator", **request)
    for request in ({}, {"ShardIterator": ""}, {"ShardIterator": "x"}, {"ShardIterator": latest, "Limit": 0}, {"ShardIterator": latest, "Limit": 1001}):
        r.streams.call("get_records", **request)


def pages(r):
    """One record at a time is the whole."""
    changes(r)
    at = iterator(r, arn(r))
    for _ in range(9):
        at = records(r, at, Limit=1)["NextShardIterator"]


def life(r):
    """The end of a stream, and a new one."""
    r.quiet("put_item", TableName="streamed", Item=item("a", v=n("1")))
    first = arn(r)
    update = {"TableName": "streamed"}
    r.call("update_table", **update, StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"})
    r.call("update_table", **update, StreamSpecification={"StreamEnabled": False})
    r.call("update_table", **update, StreamSpecification={"StreamEnabled": False})
    r.quiet("put_item", TableName="streamed", Item=item("b", v=n("1")))
    r.call("describe_table", TableName="streamed")
    r.streams.call("describe_stream", StreamArn=first)
    records(r, iterator(r, first))
    r.call("update_table", **update, StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"})
    r.quiet("put_item", TableName="streamed", Item=item("c", v=n("1")))
    second = arn(r)
    records(r, iterator(r, second))
    r.quiet("delete_table", TableName="streamed")
    r.streams.call("describe_stream", StreamArn=second)
    records(r, iterator(r, second))


def refused(r):
    made = table("made", ["PK"], {"PK": "S"})
    for specification in (
        {"StreamEnabled": False, "StreamViewType": "NEW_IMAGE"},
        {"StreamViewType": "NEW_IMAGE"},
        {"StreamEnabled": False},
    ):
        r.call("create_table", **made, StreamSpecification=specification)
    r.call("update_table", TableName="made", StreamSpecification={"StreamEnabled": True})
    r.call("update_table", TableName="made", StreamSpecification={"StreamEnabled": False, "StreamViewType": "NEW_IMAGE"})


case("streams/describe", describe, streamed())
case("streams/list", listing, streamed())
case("streams/iterators", iterators, streamed())
case("streams/pages", pages, streamed())
case("streams/life", life, streamed())
case("streams/refused", refused)
