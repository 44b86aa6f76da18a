"""cfn-lint on every template that is deployed, for regions of each partition."""

import subprocess
import sys
from pathlib import Path

from accounts import environment
from checks import Checks

TEMPLATES = {
    "limiter": ["cfn-template"],
    "limiter without local indexes": ["cfn-template", "--without-local-indexes"],
    "load test": ["load", "cfn-template"],
}
REGIONS = ["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1"]


def lint(checks: Checks, program: str, work: Path) -> None:
    cfn_lint = Path(sys.executable).with_name("cfn-lint")
    for name, command in TEMPLATES.items():
        file = work / f"{name.replace(' ', '-')}.yaml"
        printed = subprocess.run([program, *command, "-o", str(file)], env=environment({}), capture_output=True, text=True)
        if not checks.check(printed.returncode == 0, f"zae-limiter {' '.join(command)}", printed.stderr):
            continue
        done = subprocess.run([cfn_lint, "--regions", *REGIONS, "--", str(file)], env=environment({}), capture_output=True, text=True)
        checks.check(done.returncode == 0 and not done.stdout.strip(), f"cfn-lint on the template of the {name}", done.stdout + done.stderr)
