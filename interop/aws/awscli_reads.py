"""awscli on the account of `zae-limiter local aws`: the reads of the monitoring section, and the usual ones."""

import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from accounts import REGION, Account
from checks import Checks

STACK, WITHIN = "my-limiter", 60

# What the answers of the service have, by command; a dotted path leads through objects and first elements.
SHAPES = {
    "sts get-caller-identity": ["UserId", "Account", "Arn"],
    f"cloudformation describe-stacks --stack-name {STACK}-load": ["Stacks.StackId", "Stacks.StackName", "Stacks.Parameters.ParameterKey", "Stacks.Outputs.ExportName", "Stacks.StackStatus", "Stacks.CreationTime", "Stacks.Tags.Key", "Stacks.Capabilities"],
    f"cloudformation describe-stack-events --stack-name {STACK}": ["StackEvents.EventId", "StackEvents.LogicalResourceId", "StackEvents.ResourceStatus", "StackEvents.Timestamp"],
    f"cloudformation list-stack-resources --stack-name {STACK}": ["StackResourceSummaries.PhysicalResourceId", "StackResourceSummaries.ResourceType"],
    f"ecs list-tasks --cluster {STACK}-load --desired-status STOPPED": ["taskArns"],
    f"ecs describe-services --cluster {STACK}-load --services {STACK}-load-master": ["services.serviceArn", "services.networkConfiguration.awsvpcConfiguration.subnets"],
    f"lambda get-function-configuration --function-name {STACK}-load-worker": ["FunctionArn", "Runtime", "Handler", "CodeSha256", "MemorySize", "Timeout", "State", "LastUpdateStatus", "Environment.Variables", "Architectures"],
    f"logs filter-log-events --log-group-name /aws/lambda/{STACK}-load-worker": ["events.logStreamName", "events.timestamp", "events.message", "events.ingestionTime", "events.eventId"],
    f"dynamodb describe-table --table-name {STACK}": ["Table.TableArn", "Table.TableStatus", "Table.KeySchema.AttributeName", "Table.GlobalSecondaryIndexes.IndexName", "Table.BillingModeSummary.BillingMode", "Table.LatestStreamArn"],
    f"ecr describe-images --repository-name {STACK}-load-locust": ["imageDetails.imageDigest", "imageDetails.imageTags", "imageDetails.imageSizeInBytes"],
}


class Tool:
    """The aws command in an account."""

    def __init__(self, account: Account):
        self.account, self.command = account, str(Path(sys.executable).with_name("aws"))

    def run(self, *args: str) -> subprocess.CompletedProcess:
        return subprocess.run([self.command, *args, "--region", REGION], env=self.account.env, capture_output=True, text=True, timeout=WITHIN, stdin=subprocess.DEVNULL)


def has(data: object, path: str) -> bool:
    for name in path.split("."):
        if isinstance(data, list):
            data = data[0] if data else None
        if not isinstance(data, dict) or name not in data:
            return False
        data = data[name]
    return True


def read(checks: Checks, account: Account) -> None:
    """Of an account in which both stacks stand and benchmarks ran."""
    aws = Tool(account)
    for line, paths in SHAPES.items():
        done = aws.run(*line.split(), "--output", "json")
        if checks.check(done.returncode == 0, f"aws {line}", done.stderr):
            answer = json.loads(done.stdout)
            missing = [path for path in paths if not has(answer, path)]
            checks.check(not missing, f"aws {line} has no {', '.join(missing)}", done.stdout[:1500])
    metrics(checks, aws)


def metrics(checks: Checks, aws: Tool) -> None:
    """The lines of the seed document's monitoring section, `date -v` put as values."""
    now = datetime.now(timezone.utc)
    time = lambda minutes: (now + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S")  # noqa: E731

    def statistics(namespace: str, metric: str, dimension: str, minutes: int, statistic: str, *output: str) -> str:
        done = aws.run(
            "cloudwatch", "get-metric-statistics", "--namespace", namespace, "--metric-name", metric, "--dimensions", dimension,
            "--start-time", time(-minutes), "--end-time", time(1), "--period", "60", "--statistics", statistic, *output,
        )
        checks.check(done.returncode == 0, f"aws cloudwatch get-metric-statistics {metric}", done.stderr)
        return done.stdout

    processor = statistics("ECS/ContainerInsights", "CpuUtilized", f"Name=ClusterName,Value={STACK}-load", 5, "Average", "--query", "Datapoints[*].[Timestamp,Average]", "--output", "text")
    checks.check(processor.strip() not in ("", "None"), "CpuUtilized has no data after a benchmark in a task", processor)
    writes = statistics("AWS/DynamoDB", "ConsumedWriteCapacityUnits", f"Name=TableName,Value={STACK}", 10, "Sum", "--output", "table")
    checks.check("Sum" in writes and "Timestamp" in writes, "ConsumedWriteCapacityUnits has no data after benchmarks", writes)
    # The service keeps this metric by table and operation only.
    throttled = statistics("AWS/DynamoDB", "ThrottledRequests", f"Name=TableName,Value={STACK}", 10, "Sum", "--output", "json")
    checks.check(throttled and json.loads(throttled)["Datapoints"] == [], "ThrottledRequests by table alone has data", throttled)
