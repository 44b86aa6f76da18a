"""What a deployed limiter and its load test are, as an account's own describe calls tell it."""

import ast
import json
import re

from botocore.exceptions import ClientError


def facts(account, name: str) -> dict[str, object]:
    """Facts by a path such as roles/EcsTaskRole/policies/Table. Ids that an account makes up stand as the
    logical ids of the resources, or as what they are, so that facts of two accounts can be compared."""
    stacks = account.client("cloudformation")
    found: dict[str, object] = {}
    known: dict[str, str] = {}  # ids that the account made up
    for i, subnet in enumerate(account.client("ec2").describe_subnets()["Subnets"]):
        known[subnet["SubnetId"]], known[subnet["VpcId"]] = f"<subnet {i}>", "<vpc>"
    for host in account.registries:
        known[host] = "<registry>"
    resources = {}
    for stack in (name, f"{name}-load"):
        for r in stacks.describe_stack_resources(StackName=stack)["StackResources"]:
            if not r.get("ResourceType"):
                continue  # moto has an entry for what a condition leaves out
            found[f"resources/{stack}/{r['LogicalResourceId']}"] = r["ResourceType"]
            resources[r["LogicalResourceId"]] = physical = r.get("PhysicalResourceId", "")
            if re.match(r"(sg|sgr|vpce|rtb)-", physical):
                known[physical] = f"<{r['LogicalResourceId']}>"
        described = stacks.describe_stacks(StackName=stack)["Stacks"][0]
        for output in described.get("Outputs", []):
            found[f"outputs/{stack}/{output['OutputKey']}"] = [output.get("OutputValue"), output.get("ExportName")]
        for tag in described["Tags"]:
            found[f"tags/{stack}/{tag['Key']}"] = tag["Value"]
    for export in stacks.list_exports()["Exports"]:
        found[f"exports/{export['Name']}"] = export.get("Value")
    kinds = {logical: kind for path, kind in found.items() if path.startswith("resources/") for logical in [path.split("/")[-1]]}
    for part in (table, policies, roles, registry, tasks, function, logs, network):
        found |= part(account, name, {logical: (kinds[logical], physical) for logical, physical in resources.items()})
    text = json.dumps(found, default=str)
    for old, new in known.items():
        text = text.replace(old, new)
    text = re.sub(r"(stream/)[0-9T:.-]+", r"\1<time>", text)
    text = re.sub(r"(SecurityGroup-)[0-9a-zA-Z]+", r"\1<random>", text)
    return json.loads(text)


def of(resources: dict, kind: str) -> dict[str, str]:
    return {logical: physical for logical, (type_, physical) in resources.items() if type_ == kind}


def ask(call, **arguments) -> dict:
    """The answer, empty for what there is not."""
    try:
        return call(**arguments)
    except ClientError as e:
        if "NotFound" not in e.response["Error"]["Code"]:
            raise
        return {}


def some(data: dict, *keys: str) -> dict:
    return {key: data.get(key) for key in keys}


def table(account, name, _):
    client = account.client("dynamodb")
    t = client.describe_table(TableName=name)["Table"]
    keys = lambda index: some(index, "IndexName", "KeySchema", "Projection")  # noqa: E731
    return {
        "table/keys": t["KeySchema"],
        "table/attributes": sorted(t["AttributeDefinitions"], key=lambda a: a["AttributeName"]),
        "table/global indexes": sorted(map(keys, t.get("GlobalSecondaryIndexes", [])), key=lambda i: i["IndexName"]),
        "table/local indexes": sorted(map(keys, t.get("LocalSecondaryIndexes", [])), key=lambda i: i["IndexName"]),
        "table/stream": t.get("StreamSpecification"),
        "table/billing": t.get("BillingModeSummary", {}).get("BillingMode"),
        "table/protection": t.get("DeletionProtectionEnabled"),
        "table/ttl": client.describe_time_to_live(TableName=name)["TimeToLiveDescription"],
    }


def policies(account, _, resources):
    client, found = account.client("iam"), {}
    for logical, arn in of(resources, "AWS::IAM::ManagedPolicy").items():
        policy = client.get_policy(PolicyArn=arn)["Policy"]
        document = client.get_policy_version(PolicyArn=arn, VersionId=policy["DefaultVersionId"])["PolicyVersion"]["Document"]
        found[f"policies/{logical}"] = {**some(policy, "PolicyName", "Path", "Description"), "document": document}
    return found


def roles(account, _, resources):
    client, found = account.client("iam"), {}
    for logical, name in of(resources, "AWS::IAM::Role").items():
        role = client.get_role(RoleName=name)["Role"]
        found[f"roles/{logical}"] = some(role, "RoleName", "AssumeRolePolicyDocument", "PermissionsBoundary")
        for policy in client.list_role_policies(RoleName=name)["PolicyNames"]:
            document = client.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
            # moto keeps the document as Python prints it.
            found[f"roles/{logical}/{policy}"] = ast.literal_eval(document) if isinstance(document, str) else document
    return found


def registry(account, name, _):
    client = account.client("ecr")
    repository = client.describe_repositories(repositoryNames=[f"{name}-load-locust"])["repositories"][0]
    lifecycle = ask(client.get_lifecycle_policy, repositoryName=repository["repositoryName"])
    return {
        "registry/repository": some(repository, "repositoryName", "repositoryUri", "imageTagMutability", "imageScanningConfiguration"),
        "registry/lifecycle": json.loads(lifecycle.get("lifecyclePolicyText", "null")),
    }


def tasks(account, name, _):
    client, stack = account.client("ecs"), f"{name}-load"
    cluster = client.describe_clusters(clusters=[stack], include=["SETTINGS"])["clusters"][0]
    service = client.describe_services(cluster=stack, services=[f"{stack}-master"])["services"][0]
    definition = client.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    found = {
        "tasks/cluster": some(cluster, "clusterName", "settings", "capacityProviders", "defaultCapacityProviderStrategy"),
        "tasks/service": some(service, "serviceName", "capacityProviderStrategy", "enableExecuteCommand", "propagateTags"),
        "tasks/service network": service.get("networkConfiguration"),
        "tasks/definition": some(definition, "family", "cpu", "memory", "networkMode", "requiresCompatibilities", "runtimePlatform", "volumes", "taskRoleArn", "executionRoleArn"),
    }
    for container in definition["containerDefinitions"]:
        for key in ("image", "command", "essential", "environment", "mountPoints", "ulimits", "healthCheck", "dependsOn", "stopTimeout", "logConfiguration", "linuxParameters", "portMappings"):
            value = container.get(key) or None
            found[f"tasks/containers/{container['name']}/{key}"] = sorted(filter(None, value), key=str) if key == "environment" else value
    return found


def function(account, name, _):
    client, function = account.client("lambda"), f"{name}-load-worker"
    config = client.get_function_configuration(FunctionName=function)
    found = {f"function/{key}": config.get(key) for key in ("FunctionName", "Runtime", "Handler", "Role", "Timeout", "MemorySize", "Architectures", "PackageType")}
    found["function/variables"] = config.get("Environment", {}).get("Variables")
    found["function/network"] = some(config.get("VpcConfig", {}), "SubnetIds", "SecurityGroupIds")
    found["function/tags"] = {key: value for key, value in ask(client.list_tags, Resource=config["FunctionArn"]).get("Tags", {}).items() if not key.startswith("aws:")}
    found["function/events"] = some(ask(client.get_function_event_invoke_config, FunctionName=function, Qualifier="live"), "MaximumRetryAttempts", "MaximumEventAgeInSeconds")
    # A number: moto publishes what has not changed, too.
    found["function/live is a version"] = ask(client.get_alias, FunctionName=function, Name="live").get("FunctionVersion", "").isdigit()
    return found


def logs(account, name, _):
    groups = account.client("logs").describe_log_groups()["logGroups"]
    return {f"logs/{g['logGroupName']}": g.get("retentionInDays") for g in groups if f"{name}-load" in g["logGroupName"]}


def network(account, _, resources):
    client, found = account.client("ec2"), {}
    for logical, id_ in of(resources, "AWS::EC2::SecurityGroup").items():
        group = client.describe_security_groups(GroupIds=[id_])["SecurityGroups"][0]
        found[f"network/{logical}"] = some(group, "GroupName", "Description", "VpcId")
        for direction in ("IpPermissions", "IpPermissionsEgress"):
            found[f"network/{logical}/{direction}"] = sorted((rule(r) for r in group.get(direction, [])), key=str)
    endpoints = of(resources, "AWS::EC2::VPCEndpoint")
    for endpoint in client.describe_vpc_endpoints()["VpcEndpoints"]:
        logical = next((logical for logical, id_ in endpoints.items() if id_ == endpoint["VpcEndpointId"]), None)
        if logical:
            found[f"network/{logical}"] = some(endpoint, "ServiceName", "VpcEndpointType", "VpcId")
    return found


def rule(r: dict) -> dict:
    groups = [pair.get("GroupId") for pair in r.get("UserIdGroupPairs", [])]
    return {**some(r, "IpProtocol", "FromPort", "ToPort"), "groups": groups, "ranges": [x["CidrIp"] for x in r.get("IpRanges", [])]}
