"""Compares what each of the product's ServiceAccounts may do with a reviewed file, and what it did with both.

`python3 -m dev.checks.rights` compares the roles in the cluster with dev/checks/rights/*.txt (`--write` writes these
files), and then reads every call of the product in the API server's audit log: each must be covered by the file, and none
may have been forbidden.
"""

import json
import sys

from ..cluster import operator
from ..cluster.control_plane import AUDIT_LOG
from ..cluster.kube import Kube
from ..paths import KUBECONFIG, ROOT
from ..progress import Failure, say

GOLDEN = ROOT / "dev" / "checks" / "rights"
ACCOUNTS = ("controller", "webhook", "broker")


def check():
    kube = Kube(KUBECONFIG)
    rights = {account: _rights(kube, f"{operator.NAME}-{account}") for account in ACCOUNTS}
    for account, lines in rights.items():
        text = "".join(f"{' '.join(line)}\n" for line in lines)
        golden = GOLDEN / f"{account}.txt"
        if "--write" in sys.argv:
            golden.write_text(text)
        elif golden.read_text() != text:
            raise Failure(f"{golden.relative_to(ROOT)} is not what the chart grants:\n{text}")
    calls = {account: 0 for account in ACCOUNTS}
    wrong, uninstalled = [], set()
    for call in _calls():
        if binding := _binding(call):
            (uninstalled.add if call["verb"] == "delete" else uninstalled.discard)(binding)
            continue
        account = call["user"]["username"].rpartition(f":{operator.NAME}-")[2]
        if account not in ACCOUNTS:
            continue
        calls[account] += 1
        line = _as_line(call)
        forbidden = call.get("responseStatus", {}).get("code") == 403 and "forbid" in call.get("annotations", {}).get(
            "authorization.k8s.io/decision", ""
        )
        # `helm uninstall` deletes the rights first, so the last calls of the pods are forbidden.
        if forbidden and account in uninstalled:
            continue
        if forbidden or not any(_covers(right, line) for right in rights[account]):
            wrong.append(f"  {account}: {' '.join(line)}, answered {call.get('responseStatus', {}).get('code')}")
    if wrong:
        raise Failure("calls that dev/checks/rights does not cover:\n" + "\n".join(sorted(set(wrong))))
    if idle := [account for account, count in calls.items() if not count]:
        raise Failure(f"the audit log has no call of {', '.join(idle)}: nothing was checked")
    counts = ", ".join(f"{count} of {account}" for account, count in calls.items())
    say(f"every call is within the rights of its ServiceAccount: {counts}")


def _rights(kube, account):
    """Returns (verb, resource, namespace, names) of every role that is bound to the account."""
    found = set()
    for kind in ("clusterrolebindings", "rolebindings"):
        options = [] if kind == "clusterrolebindings" else ["--all-namespaces"]
        for binding in json.loads(kube.must("get", kind, *options, "--output=json"))["items"]:
            if not any(subject["name"] == account for subject in binding.get("subjects", [])):
                continue
            role = binding["roleRef"]
            namespace = binding["metadata"].get("namespace")
            within = ["--namespace", namespace] if role["kind"] == "Role" else []
            rules = json.loads(kube.must("get", role["kind"].lower(), role["name"], *within, "--output=json"))["rules"]
            for rule in rules:
                for group in rule.get("apiGroups", []):
                    for resource in rule.get("resources", []):
                        base, slash, sub = resource.partition("/")
                        name = f"{base}{'.' if group else ''}{group}{slash}{sub}"
                        names = ",".join(sorted(rule.get("resourceNames", ["*"])))
                        found |= {(verb, name, namespace or "*", names) for verb in rule["verbs"]}
    return sorted(found, key=lambda right: (right[1], right[0], right[2:]))


def _calls():
    for file in sorted(AUDIT_LOG.parent.glob(f"{AUDIT_LOG.stem}*.log")):
        for line in file.read_text().splitlines():
            ours = f'"username":"system:serviceaccount:{operator.NAME}:' in line
            if ours or f'"resource":"clusterrolebindings","name":"{operator.NAME}-' in line:
                yield json.loads(line)


def _binding(call):
    """The component whose ClusterRoleBinding the call creates, changes or deletes, else None."""
    reference = call.get("objectRef", {})
    if reference.get("resource") == "clusterrolebindings" and call["verb"] in ("create", "patch", "update", "delete"):
        return reference["name"].removeprefix(f"{operator.NAME}-")
    return None


def _as_line(call):
    reference = call.get("objectRef")
    if not reference:
        return (call["verb"], call["requestURI"], "*", "*")
    group, sub = reference.get("apiGroup", ""), reference.get("subresource", "")
    resource = f"{reference['resource']}{'.' if group else ''}{group}{'/' if sub else ''}{sub}"
    return (call["verb"], resource, reference.get("namespace", "*"), reference.get("name", "*"))


def _covers(right, call):
    verb, resource, namespace, names = right
    return (
        (verb, resource) == call[:2]
        and namespace in ("*", call[2])
        and (names == "*" or call[3] in names.split(","))
    )


if __name__ == "__main__":
    try:
        check()
    except Failure as failure:
        sys.exit(f"rights: {failure}")
