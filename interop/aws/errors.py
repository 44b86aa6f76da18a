"""How boto3 and awscli understand the errors of `zae-limiter local aws`."""

import re

from accounts import Account, played
from awscli_reads import Tool
from botocore.config import Config
from botocore.exceptions import ClientError
from checks import Checks

ONCE = Config(retries={"total_max_attempts": 1})
THROTTLED = "ThrottlingException: Rate exceeded"


def provoke(checks: Checks, program: str) -> None:
    with played(program, "--fail", f"sts:GetCallerIdentity*2={THROTTLED};ecs:ListTasks={THROTTLED};lambda:ListFunctions*1=TooManyRequestsException: Rate Exceeded.") as (recorder, keys):
        account = Account(program, recorder, keys)

        def refused(what: str, code: str, message: str, call, **arguments) -> None:
            try:
                checks.check(False, f"{what} is accepted", str(call(**arguments)))
            except ClientError as e:
                error = e.response["Error"]
                checks.check(error["Code"] == code and re.search(message, error["Message"]), f"{what}: want {code}, {message}", f"{error['Code']}: {error['Message']}")

        # boto3's own retries get over two refusals.
        identity = account.client("sts", config=Config(retries={"total_max_attempts": 3, "mode": "standard"})).get_caller_identity()
        checks.check(identity["Account"] == "123456789012" and identity["ResponseMetadata"]["RetryAttempts"] == 2, "throttled twice, then accepted", str(identity))
        refused("a throttled call", "ThrottlingException", "Rate exceeded", account.client("ecs", config=ONCE).list_tasks, cluster="x")
        functions = account.client("lambda", config=ONCE)
        refused("a throttled call of Lambda", "TooManyRequestsException", "Rate Exceeded", functions.list_functions)
        refused("an unknown stack", "ValidationError", "^Stack with id nothing does not exist$", account.client("cloudformation").describe_stacks, StackName="nothing")
        refused("an unknown function", "ResourceNotFoundException", "Function not found", functions.get_function_configuration, FunctionName="nothing")
        refused("an unknown cluster", "ClusterNotFoundException", "Cluster not found", account.client("ecs").run_task, cluster="nothing", taskDefinition="nothing")
        refused("an unknown table", "ResourceNotFoundException", "not found", account.client("dynamodb").describe_table, TableName="nothing")
        refused("an unknown role", "NoSuchEntity", "cannot be found", account.client("iam").get_role, RoleName="nothing")
        refused("an unknown repository", "RepositoryNotFoundException", "does not exist", account.client("ecr").describe_repositories, repositoryNames=["nothing"])
        refused("an unknown log group", "ResourceNotFoundException", "log group does not exist", account.client("logs").filter_log_events, logGroupName="nothing")

        tool = Tool(account)
        done = tool.run("cloudformation", "describe-stacks", "--stack-name", "nothing")
        checks.check(done.returncode != 0 and "(ValidationError)" in done.stderr and "does not exist" in done.stderr, "awscli on an unknown stack", done.stderr)
        wrong_keys(checks, program, recorder, keys)


def wrong_keys(checks: Checks, program: str, recorder, keys: dict) -> None:
    """Wrong keys have codes of their own in each protocol; and a token that is none."""
    for what, changed, codes in (
        ("an unknown key", {"AWS_ACCESS_KEY_ID": "AKIAUNKNOWN000000000"}, "InvalidClientTokenId|UnrecognizedClientException"),
        ("a wrong secret", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch|InvalidSignatureException"),
        ("a token that is none", {"AWS_SESSION_TOKEN": "old"}, "InvalidClientTokenId|UnrecognizedClientException|ExpiredToken(Exception)?"),
    ):
        tool = Tool(Account(program, recorder, {**keys, **changed}))
        for command in (("sts", "get-caller-identity"), ("ecs", "list-clusters"), ("dynamodb", "list-tables"), ("lambda", "list-functions")):
            done = tool.run(*command)
            checks.check(done.returncode != 0 and re.search(rf"\(({codes})\)", done.stderr), f"aws {' '.join(command)} with {what}: want {codes}", done.stderr + done.stdout)
