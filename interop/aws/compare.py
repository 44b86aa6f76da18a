"""What is deployed on AWS, judged by tools that are not ours: cfn-lint, moto, boto3 and awscli.

    compare.py --program FILE --registry HOST:PORT --folder DIR

Prints what did not hold and a closing line with counts. Exits with 1 when anything did not hold.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import errors
from checks import Checks
from lint import lint
from peers import compare


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True, help="zae-limiter")
    parser.add_argument("--registry", required=True, help="an image registry for moto")
    parser.add_argument("--folder", required=True, type=Path, help="locustfiles to deploy")
    given = parser.parse_args()
    checks = Checks()
    with tempfile.TemporaryDirectory() as work:
        lint(checks, given.program, Path(work))
    compare(checks, given.program, given.registry, given.folder, Path(__file__).with_name("gaps.toml"))
    errors.provoke(checks, given.program)
    print(f"aws: {checks.passed} checks passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
