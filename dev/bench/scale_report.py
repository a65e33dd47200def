"""The pure parts of `scale`: documents that are made, and what samples come to."""

import copy
import hashlib
import json

from . import results

PER_NAMESPACE = 10
PREFIX = "scale-"
COMPONENTS = ("controller", "broker", "webhook")
# What is promised at 10,000: resident and, of the controller, peak.
TARGETS = {"controller": "≤ 64 / ≤ 96", "broker": "≤ 64", "webhook": "≤ 32"}


def place_of(number):
    """Namespace and name."""
    return f"{PREFIX}{number // PER_NAMESPACE:05}", f"destination-{number:06}"


def spec_of(number):
    account = f"{200_000_000_000 + number // PER_NAMESPACE}"
    return {
        "bucket": f"scale-{number:06}-recordings",
        "region": "us-east-1",
        "roleARN": f"arn:aws:iam::{account}:role/revenue-call-recording-writer-{number:06}",
        "externalIDSecretRef": {"name": f"destination-{number:06}", "key": "externalID"},
        "prefix": "calls/",
        # Nothing is due while the bench runs.
        "validation": {"intervalSeconds": 604_800, "enforcementIntervalSeconds": 604_800},
    }


def target_digest(spec):
    """status.establishedTarget, as the controller makes it."""
    text = f"{spec['bucket']}/{spec.get('prefix', '')}\n{spec['roleARN']}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def seeded_status(template, spec, secret_version, now):
    """The status of the template as if this destination had been proved just now."""
    status = copy.deepcopy(template["status"])
    for field in ("uploaders", "lastUploadTime", "lastLosses", "lastHandledRevalidate"):
        status.pop(field, None)
    status |= {
        "observedGeneration": 1,
        "accountID": spec["roleARN"].split(":")[4],
        "establishedTime": now,
        "establishedTarget": target_digest(spec),
        "lastValidationTime": now,
        "lastEnforcementTime": now,
        "externalIDSecretVersion": secret_version,
        "externalIDSecretRef": spec["externalIDSecretRef"],
    }
    for condition in status["conditions"]:
        condition |= {"observedGeneration": 1, "lastTransitionTime": now}
    return json.loads(json.dumps(status).replace(template["bucket"], spec["bucket"]))


def suspended(found):
    """The document of a status that says that a destination is suspended."""
    generation, status = found["metadata"]["generation"], copy.deepcopy(found["status"])
    status["observedGeneration"] = generation
    for condition in status["conditions"]:
        if condition["type"] == "Ready":
            condition |= {"status": "False", "reason": "Suspended", "message": "suspended", "observedGeneration": generation}
    about = {field: found[field] for field in ("apiVersion", "kind")}
    return {**about, "metadata": {"name": found["metadata"]["name"]}, "status": status}


def memory_of(status):
    """Of the text of /proc/PID/status, in MiB: anonymous memory, what is resident, and the most that ever was."""
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return tuple(int(fields[name].split()[0]) / 1024 for name in ("RssAnon", "VmRSS", "VmHWM"))


def status_writes(metrics):
    """Requests to write statuses of destinations, of the API server's own metrics."""
    lines = (line for line in metrics.splitlines() if line.startswith("apiserver_request_total{"))
    ours = (line for line in lines if 'resource="recordingdestinations"' in line and 'subresource="status"' in line)
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in ours if 'verb="GET"' not in line)


def rate(samples, whole):
    """A second's increase between the first tenth and the last: start and end are another figure's."""
    inner = [(at, count) for at, count in samples if whole * 0.1 <= count <= whole * 0.9]
    if len(inner) < 2:
        inner = samples
    (began, first), (ended, last) = inner[0], inner[-1]
    return (last - first) / (ended - began) if ended > began else float(last)


def memory_table(memory):
    head = ["destinations", "process", "anonymous, MiB", "resident, MiB", "peak, MiB", "target at 10,000, MiB"]
    rows = [[size, component, *(f"{mib:.1f}" for mib in of), TARGETS[component]] for size, component, *of in memory]
    return results.Table("Memory by destinations, ten to a namespace", [head, *rows], per_destination(memory))


def per_destination(memory):
    """What each destination more takes of each process."""
    sentences = []
    for component in COMPONENTS:
        sizes = [(size, of[0]) for size, name, *of in memory if name == component and isinstance(size, int)]
        if len(sizes) > 1:
            (small, before), (large, after) = sizes[0], sizes[-1]
            sentences.append(f"{component} {(after - before) * 1024 / (large - small):.1f} KiB")
    return f"Anonymous memory for each destination more: {', '.join(sentences)}." if sentences else ""


def figures_table(size, figures):
    return results.Table(f"With {size:,} proved destinations", [["figure", "measured", "target"], *figures])
