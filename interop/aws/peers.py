"""The same commands on the account that this program plays and on moto, and what the two accounts say."""

import json
import subprocess
from pathlib import Path

from accounts import Account, moto, played
from awscli_reads import read
from checks import Checks
from facts import facts
from gaps import Gaps
from recorder import Recorder

NAME = "my-limiter"

# Each with --json. At "facts" the describe calls are made, at "reads" those of awscli, on our account.
COMMANDS = """\
deploy --name {name}
deploy --name {name}
version --name {name}
check --name {name}
status --name {name}
list
upgrade --name {name}
load deploy --name {name} --vpc-id {vpc} --subnet-ids {subnets} -C {folder}
load deploy --name {name} --subnet-ids {subnets} -C {folder} --max-workers 50 --dry-run
load deploy --name {name} --subnet-ids {subnets} -C {folder}
facts
load push --name {name} -C {folder}
load list
load status --name {name}
load doctor --name {name}
load logs --name {name}
load benchmark --name {name} -f locustfiles/max_rps.py --mode lambda --users 5 --duration 3
load benchmark --name {name} -f locustfiles/max_rps.py --mode fargate --users 5 --duration 25 --port 0
reads
load delete --name {name} --yes
delete --name {name} --yes
"""


class Side:
    """What one account did."""

    def __init__(self):
        self.ended: dict[str, subprocess.CompletedProcess] = {}
        self.facts: dict[str, object] = {}
        self.calls: Recorder

    def play(self, program: str, account, folder: Path, reads=None) -> "Side":
        with account as (self.calls, keys):
            a = Account(program, self.calls, keys)
            subnets = a.client("ec2").describe_subnets()["Subnets"][:2]
            text = COMMANDS.format(name=NAME, vpc=subnets[0]["VpcId"], subnets=",".join(s["SubnetId"] for s in subnets), folder=folder)
            for line, template in zip(text.splitlines(), COMMANDS.splitlines(), strict=True):
                if line == "facts":
                    self.facts = facts(a, NAME)
                    continue
                if line == "reads":
                    if reads:
                        reads(Account(program, self.calls, keys, recorded=False))
                    continue
                label = template.replace(" --name {name}", "").partition(" -C")[0].partition(" --vpc-id")[0].partition(" --subnet-ids")[0]
                while label in self.ended:
                    label += " again"
                self.ended[label] = a.run(*line.split())
        return self


def compare(checks: Checks, program: str, registry: str, folder: Path, list_: Path) -> None:
    gaps = Gaps(list_)
    ours = Side().play(program, played(program), folder, lambda account: read(checks, account))
    theirs = Side().play(program, moto(gaps.answers, registry), folder)
    compare_commands(checks, gaps, ours, theirs)
    compare_calls(checks, gaps, ours, theirs)
    compare_facts(checks, gaps, ours, theirs)
    gaps.check_used(checks)


def compare_commands(checks: Checks, gaps: Gaps, ours: Side, theirs: Side) -> None:
    for label, done in ours.ended.items():
        checks.check(done.returncode == 0, f"{label}, in the account of local aws: exit code {done.returncode}", done.stderr + done.stdout)
    for label, done in theirs.ended.items():
        if done.returncode != 0:
            checks.check(gaps.find(gaps.commands, line=label), f"{label}, in moto: exit code {done.returncode}", done.stderr + done.stdout)
        else:
            checks.passed += 1


def compare_calls(checks: Checks, gaps: Gaps, ours: Side, theirs: Side) -> None:
    """moto has to accept each operation that our account accepts, and to refuse with the same codes."""
    for service, name in sorted(ours.calls.accepted):
        if (service, name) not in theirs.calls.accepted:
            why = theirs.calls.refused.get((service, name), "not called")
            checks.check(gaps.find(gaps.operations, service=service, name=name), f"moto does not accept {service}:{name}", str(why))
        else:
            checks.passed += 1
    for (service, name), codes in sorted(theirs.calls.refused.items()):
        for code in codes.keys() - ours.calls.refused.get((service, name), {}).keys():
            listed = (service, name) not in theirs.calls.accepted and gaps.find(gaps.operations, service=service, name=name)
            listed = listed or gaps.find(gaps.refusals, service=service, name=name, code=code)
            checks.check(listed, f"moto refuses {service}:{name} with {code}, local aws does not", codes[code])
    # An answer stands for an operation that our account refuses, too.
    for service, name in gaps.answers:
        if (service, name) in ours.calls.refused:
            gaps.find(gaps.operations, service=service, name=name)


def compare_facts(checks: Checks, gaps: Gaps, ours: Side, theirs: Side) -> None:
    for path in sorted(ours.facts.keys() | theirs.facts.keys()):
        mine, other = ours.facts.get(path), theirs.facts.get(path)
        if mine != other:
            checks.check(gaps.find(gaps.facts, path=path), f"{path} differs", f"local aws: {json.dumps(mine)}\n      moto:      {json.dumps(other)}")
        else:
            checks.passed += 1
