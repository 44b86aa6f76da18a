"""Tables, the time to live, tags."""

from harness import case

from .fixtures import INDEXED, LIMITER, PLAIN, attribute, index, key, n, s, table


def create(definition):
    def run(r):
        r.call("create_table", **definition)
        r.call("describe_table", TableName=definition.get("TableName", "absent"))

    return run


def without(definition, *members):
    return {k: v for k, v in definition.items() if k not in members}


BASE = table("made", ["PK", "SK"], {"PK": "S", "SK": "S"})
UNITS = {"ReadCapacityUnits": 5, "WriteCapacityUnits": 6}
GSI = {**BASE, "AttributeDefinitions": [attribute("PK"), attribute("SK"), attribute("G")]}


def gsi(*indexes):
    return {**GSI, "GlobalSecondaryIndexes": list(indexes)}


def lsi(*indexes):
    return {**GSI, "LocalSecondaryIndexes": list(indexes)}


CREATES = {
    "HASH only": PLAIN,
    "HASH and RANGE": BASE,
    "all types": table("made", ["PK", "SK"], {"PK": "N", "SK": "B"}),
    "indexed": INDEXED,
    "limiter": LIMITER,
    "provisioned": {**BASE, "BillingMode": "PROVISIONED", "ProvisionedThroughput": UNITS},
    "provisioned by default": {**without(BASE, "BillingMode"), "ProvisionedThroughput": UNITS},
    "provisioned without units": {**BASE, "BillingMode": "PROVISIONED"},
    "neither mode nor units": without(BASE, "BillingMode"),
    "on demand with units": {**BASE, "ProvisionedThroughput": UNITS},
    "zero units": {**BASE, "BillingMode": "PROVISIONED", "ProvisionedThroughput": {"ReadCapacityUnits": 0, "WriteCapacityUnits": 1}},
    "bad mode": {**BASE, "BillingMode": "FREE"},
    "stream": {**BASE, "TableName": "streamed", "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}},
    "stream without a view": {**BASE, "StreamSpecification": {"StreamEnabled": True}},
    "tags": {**BASE, "Tags": [{"Key": "k", "Value": "v"}]},
    "deletion protection": {**BASE, "DeletionProtectionEnabled": False},
    "no name": without(BASE, "TableName"),
    "empty name": {**BASE, "TableName": ""},
    "short name": {**BASE, "TableName": "ab"},
    "long name": {**BASE, "TableName": "a" * 256},
    "bad name": {**BASE, "TableName": "a b c"},
    "no key schema": without(BASE, "KeySchema"),
    "empty key schema": {**BASE, "KeySchema": []},
    "three keys": {**BASE, "KeySchema": [key("PK"), key("SK", "RANGE"), key("X", "RANGE")]},
    "no HASH": {**BASE, "KeySchema": [key("SK", "RANGE")]},
    "two HASH": {**BASE, "KeySchema": [key("PK"), key("SK")]},
    "RANGE first": {**BASE, "KeySchema": [key("SK", "RANGE"), key("PK")]},
    "repeated key": {**BASE, "KeySchema": [key("PK"), key("PK", "RANGE")], "AttributeDefinitions": [attribute("PK")]},
    "bad key type": {**BASE, "KeySchema": [key("PK", "PRIMARY")]},
    "no definitions": without(BASE, "AttributeDefinitions"),
    "undefined key": {**BASE, "AttributeDefinitions": [attribute("PK"), attribute("zz")]},
    "surplus definition": {**BASE, "AttributeDefinitions": [attribute("PK"), attribute("SK"), attribute("zz")]},
    "missing definition": {**BASE, "AttributeDefinitions": [attribute("PK")]},
    "repeated definition": {**BASE, "AttributeDefinitions": [attribute("PK"), attribute("SK"), attribute("SK", "N")]},
    "bad attribute type": {**BASE, "AttributeDefinitions": [attribute("PK"), attribute("SK", "BOOL")]},
    "gsi": gsi(index("one", "G")),
    "gsi include": gsi(index("one", "G", projection="INCLUDE", include=["a"])),
    "gsi on table keys": {**BASE, "GlobalSecondaryIndexes": [index("one", "SK", "PK")]},
    "gsi without projection": gsi(without(index("one", "G"), "Projection")),
    "gsi include without attributes": gsi(index("one", "G", projection="INCLUDE")),
    "gsi all with attributes": gsi(index("one", "G", include=["a"])),
    "gsi bad projection": gsi(index("one", "G", projection="SOME")),
    "gsi undefined key": {**BASE, "GlobalSecondaryIndexes": [index("one", "G")]},
    "gsi twice": gsi(index("one", "G"), index("one", "G")),
    "gsi short name": gsi(index("x", "G")),
    "gsi bad name": gsi(index("a b c", "G")),
    "gsi empty list": {**BASE, "GlobalSecondaryIndexes": []},
    "gsi units on demand": gsi({**index("one", "G"), "ProvisionedThroughput": UNITS}),
    "gsi provisioned": {**gsi({**index("one", "G"), "ProvisionedThroughput": UNITS}), "BillingMode": "PROVISIONED", "ProvisionedThroughput": UNITS},
    "gsi provisioned without units": {**gsi(index("one", "G")), "BillingMode": "PROVISIONED", "ProvisionedThroughput": UNITS},
    "20 gsis": gsi(*(index(f"g{i:02}", "G") for i in range(20))),
    "21 gsis": gsi(*(index(f"g{i:02}", "G") for i in range(21))),
    "lsi": lsi(index("one", "PK", "G")),
    "lsi with another HASH": lsi(index("one", "G", "SK")),
    "lsi without RANGE": lsi(index("one", "PK")),
    "lsi on a HASH table": {**PLAIN, "TableName": "made", "AttributeDefinitions": [attribute("PK"), attribute("G")], "LocalSecondaryIndexes": [index("one", "PK", "G")]},
    "lsi twice": lsi(index("one", "PK", "G"), index("one", "PK", "G")),
    "lsi and gsi of one name": {**lsi(index("one", "PK", "G")), "GlobalSecondaryIndexes": [index("one", "G")]},
    "lsi empty list": {**BASE, "LocalSecondaryIndexes": []},
    "6 lsis": lsi(*(index(f"l{i:02}", "PK", "G") for i in range(6))),
}
for name, definition in CREATES.items():
    case(f"create table/{name}", create(definition))


def life(r):
    r.call("create_table", **PLAIN)
    r.call("create_table", **PLAIN)
    r.quiet("put_item", TableName="plain", Item={"PK": s("p"), "a": n(1)})
    r.call("describe_table", TableName="plain")
    r.call("delete_table", TableName="plain")
    r.call("delete_table", TableName="plain")
    r.call("describe_table", TableName="plain")
    r.call("put_item", TableName="plain", Item={"PK": s("p")})
    r.call("describe_table")
    r.call("describe_table", TableName="a!")
    r.call("delete_table")


case("table/life of a table", life)


def lists(r):
    for name in ("bbb", "aaa", "Zzz", "a-1", "a.1", "a_1"):
        r.quiet("create_table", **{**PLAIN, "TableName": name})
    r.call("list_tables")
    r.call("list_tables", Limit=2)
    r.call("list_tables", Limit=2, ExclusiveStartTableName="a.1")
    r.call("list_tables", Limit=6)
    r.call("list_tables", ExclusiveStartTableName="between")
    r.call("list_tables", ExclusiveStartTableName="zzzz")
    r.call("list_tables", Limit=0)
    r.call("list_tables", Limit=101)
    r.call("list_tables", ExclusiveStartTableName="x")
    r.call("list_tables", ExclusiveStartTableName="a b c")


case("table/list", lists)


def protection(r):
    r.call("create_table", **PLAIN, DeletionProtectionEnabled=True)
    r.call("delete_table", TableName="plain")
    r.quiet("update_table", TableName="plain", DeletionProtectionEnabled=False)
    r.call("delete_table", TableName="plain")


case("table/deletion protection", protection)


def ttl(r):
    def update(name, enabled, table="plain"):
        r.call("update_time_to_live", TableName=table, TimeToLiveSpecification={"AttributeName": name, "Enabled": enabled})

    r.call("describe_time_to_live", TableName="plain")
    update("ttl", False)
    update("", True)
    update("ttl", True)
    r.call("describe_time_to_live", TableName="plain")
    update("ttl", True)
    update("other", True)
    r.call("update_time_to_live", TableName="plain")
    r.call("update_time_to_live", TableName="plain", TimeToLiveSpecification={"Enabled": True})
    update("ttl", True, "absent")
    r.call("describe_time_to_live", TableName="absent")
    r.call("describe_time_to_live", TableName="a!")
    # An expired item is there until it is swept.
    r.quiet("put_item", TableName="plain", Item={"PK": s("p"), "ttl": n(1)})


case("table/time to live", ttl, PLAIN)


def tags(r):
    arn = r.quiet("describe_table", TableName="plain")["Table"]["TableArn"]
    r.call("list_tags_of_resource", ResourceArn=arn)
    r.call("tag_resource", ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}])
    r.call("tag_resource", ResourceArn=arn, Tags=[{"Key": "a", "Value": "2"}])
    r.call("list_tags_of_resource", ResourceArn=arn, unordered=True)
    r.call("untag_resource", ResourceArn=arn, TagKeys=["a", "zz"])
    r.call("list_tags_of_resource", ResourceArn=arn)
    r.call("tag_resource", ResourceArn=arn, Tags=[])
    r.call("tag_resource", ResourceArn=arn)
    r.call("untag_resource", ResourceArn=arn, TagKeys=[])
    r.call("tag_resource", ResourceArn=arn, Tags=[{"Key": "", "Value": "x"}])
    r.call("tag_resource", ResourceArn=arn, Tags=[{"Key": "k" * 129, "Value": "x"}])
    r.call("tag_resource", ResourceArn=arn, Tags=[{"Key": "k", "Value": "v" * 257}])
    r.call("tag_resource", ResourceArn=arn, Tags=[{"Key": f"k{i}", "Value": "x"} for i in range(51)])
    r.call("tag_resource", ResourceArn="nonsense", Tags=[{"Key": "k", "Value": "x"}])
    r.call("tag_resource", ResourceArn=arn + "x", Tags=[{"Key": "k", "Value": "x"}])
    r.call("untag_resource", ResourceArn=arn + "x", TagKeys=["k"])
    r.call("list_tags_of_resource", ResourceArn=arn + "x")
    r.call("list_tags_of_resource", ResourceArn="nonsense")
    r.call("list_tags_of_resource")


case("table/tags", tags, PLAIN)
