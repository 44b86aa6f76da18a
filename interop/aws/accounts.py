"""The two accounts: moto's, and the one that `zae-limiter local aws` plays."""

import json
import logging
import os
import subprocess
import threading
import warnings
from contextlib import contextmanager

import boto3
from recorder import Recorder

REGION = "us-east-1"
ENDING = 60  # seconds that a process may take to end


@contextmanager
def moto(answers: dict, registry: str):
    """moto in this process, behind a recorder; it runs nothing. Yields recorder and environment."""
    os.environ["MOTO_ACCOUNT_ID"] = "123456789012"
    from moto.core.config import default_user_config
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    logging.getLogger("moto").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    default_user_config["lambda"]["use_docker"] = False
    repair()
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    recorder = Recorder(f"http://127.0.0.1:{server.server_port}", answers, registry)
    try:
        yield recorder, {"AWS_ACCESS_KEY_ID": "interop", "AWS_SECRET_ACCESS_KEY": "interop"}
    finally:
        recorder.close()
        server.shutdown()
        thread.join()


def repair() -> None:
    """moto knows exports and outputs of stacks that CreateStack made only: a stack that a change set makes
    gets none and sees none, a deleted one still asks its resources for them; and without them there is no load test of a limiter.
    Its stacks make no aliases either, and what a limiter's stream invokes is one; and where a
    variable of a function is a parameter that is a number, they keep a number, which no client reads."""
    from moto.awslambda.models import LambdaFunction
    from moto.awslambda.utils import get_backend
    from moto.cloudformation.models import ChangeSet, Stack, cloudformation_backends
    from moto.core.common_models import CloudFormationModel

    class Alias(CloudFormationModel):
        __module__ = "moto.awslambda.models"  # whose service it is

        def __init__(self, made, function: str):
            self.made, self.function = made, function

        @property
        def physical_resource_id(self) -> str:
            return self.made.arn

        @staticmethod
        def cloudformation_type() -> str:
            return "AWS::Lambda::Alias"

        @staticmethod
        def cloudformation_name_type() -> str:
            return ""

        @classmethod
        def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs):
            p = cloudformation_json["Properties"]
            made = get_backend(account_id, region_name).create_alias(p["Name"], p["FunctionName"], p["FunctionVersion"], "", None)
            return cls(made, p["FunctionName"])

        @classmethod
        def update_from_cloudformation_json(cls, original_resource, *args, **kwargs):
            return original_resource

        @classmethod
        def delete_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name):
            """It goes with its function."""

    repair.alias = Alias  # moto finds it among the subclasses, as long as it is there

    create = LambdaFunction.create_from_cloudformation_json.__func__

    def created(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs):
        p = dict(cloudformation_json["Properties"])
        if "Environment" in p:
            p["Environment"] = {"Variables": {name: str(value) for name, value in p["Environment"]["Variables"].items()}}
        return create(cls, resource_name, {**cloudformation_json, "Properties": p}, account_id, region_name, **kwargs)

    LambdaFunction.create_from_cloudformation_json = classmethod(created)

    apply, delete = ChangeSet.apply, Stack.delete

    def applied(self) -> None:
        stack = self.stack
        exports = cloudformation_backends[stack.account_id][stack.region_name].exports
        stack.cross_stack_resources = stack.resource_map.cross_stack_resources = exports
        apply(self)
        stack.template = self.template
        stack._parse_template()
        conditions = stack.resource_map.lazy_condition_map
        stack.template_dict["Outputs"] = {
            name: output for name, output in stack.template_dict.get("Outputs", {}).items()
            if "Condition" not in output or conditions[output["Condition"]]
        }
        stack.output_map = stack._create_output_map()
        exports.update({export.name: export for export in stack.exports})

    def deleted(self) -> None:
        delete(self)
        self.template_dict["Outputs"] = {}
        self.output_map = self._create_output_map()

    ChangeSet.apply, Stack.delete = applied, deleted


@contextmanager
def played(program: str, *options: str):
    """`zae-limiter local aws`, behind a recorder. Yields recorder and environment."""
    process = subprocess.Popen(
        [program, "local", "aws", "--json", *options], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=environment({})
    )
    try:
        lines = ""
        for line in process.stdout:
            lines += line
            if line.rstrip() == "}":
                break
        account = json.loads(lines)
        recorder = Recorder(account["endpoint"])
        try:
            yield recorder, account["environment"]
        finally:
            recorder.close()
    finally:
        process.terminate()
        process.wait(ENDING)
        process.stdout.close()


def environment(more: dict) -> dict:
    """The environment without anything that leads to another account, and with nothing beyond loopback."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ZAE", "LOCUST")) and not name.lower().endswith("_proxy")}
    kept |= {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.0/8,127.0.0.1,localhost"}
    kept |= {"AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    return kept | more


class Account:
    """Commands and clients of one account."""

    def __init__(self, program: str, recorder: Recorder, keys: dict, recorded: bool = True):
        self.program, self.url = program, recorder.url if recorded else f"http://{recorder.target}"
        self.env = environment({**keys, "AWS_ENDPOINT_URL": self.url})
        self.registries = (recorder.host, recorder.target)  # hosts that names of images may have

    def run(self, *args: str, within: int = 120) -> subprocess.CompletedProcess:
        """Runs a command of the program with --json; its output is a document or an error."""
        return subprocess.run([self.program, *args, "--json"], env=self.env, capture_output=True, text=True, timeout=within, stdin=subprocess.DEVNULL)

    def client(self, service: str, **more):
        return boto3.client(
            service, endpoint_url=self.url, region_name=REGION, aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"], **more,
        )
