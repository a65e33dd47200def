"""Searches all that a run left for External IDs, keys, session tokens, request IDs and bearer tokens.

The scan reads statuses, events, pods, config maps, the API server's audit log (which must not hold the bodies of Secrets,
token requests and token reviews), the logs of the operator and of the sidecars, those of deleted pods included, the
metrics, and all that crossed the pods' network. It does not read Secrets, because an External ID belongs there. It does
not search for access key IDs, which are names, nor for External IDs that other texts may hold by chance (see
`is_distinctive`).

A secret is found in plain text, percent-encoded, and in base64, base64url and hex, whatever surrounds it.
"""

import base64
import binascii
import json
import os
import sys
import threading
import time
import urllib.parse
from collections import defaultdict

from ..aws import PLATFORM_CREDENTIALS
from ..cluster import environment, operator, sandbox
from ..cluster.control_plane import AUDIT_LOG
from ..cluster.kube import Kube
from ..paths import KUBECONFIG, RUN
from ..progress import Failure, say
from . import capture

SECRETS = RUN / "aws" / "secrets.jsonl"  # each secret that passed through the stand-in for AWS
ACCESS_LOG = RUN / "aws" / "access.jsonl"
POD_LOGS = [node.directory / "mounts" / "var-log" / "pods" for node in sandbox.NODES]
KEPT_LOGS = RUN / "pod-logs"
SIDECAR = "recording-uploader"
KINDS = {"external-id", "secret-access-key", "session-token", "request-id"}
TOKEN_START = b"eyJhbGciOi"  # {"alg":… of any JSON Web Token
LINKING_SECONDS = 0.3
SHOWN = 40

_ended = threading.Event()
_keepers = []


def keep_logs():
    """Links each log into KEPT_LOGS until end_keeping_logs(), because the kubelet removes a pod's logs with the pod."""

    def follow():
        while not _ended.wait(LINKING_SECONDS):
            _link_logs()

    _ended.clear()
    _keepers.append(threading.Thread(target=follow, daemon=True))
    _keepers[-1].start()


def end_keeping_logs():
    """Must be called before the run's directory is removed."""
    _ended.set()
    while _keepers:
        _keepers.pop().join()


def run():
    began = time.monotonic()
    secrets, chance = _secrets()
    sources = _sources()
    _prove_that_it_can_fail(secrets, sources)
    matcher = Matcher(secrets)
    found = [(name, label) for name, files in sources.items() for label in sorted(matcher.found_in(_joined(files)))]
    if found:
        shown = (f"  {_location(label, matcher, sources[name])} in {name}" for name, label in found[:SHOWN])
        raise Failure("\n".join([f"{len(found)} secrets found; the first of them:", *shown]))
    megabytes = sum(len(text) for files in sources.values() for text in files.values()) / 1e6
    say(
        f"secret scan: none of {len(secrets)} secrets in {megabytes:.0f} MB, {time.monotonic() - began:.1f} s; "
        f"{chance} values that texts may hold by chance were left out"
    )


class Matcher:
    """Finds any of very many values in a text, in one pass over its blocks.

    Wherever a value of 15 bytes or more begins, 8 of its bytes fill one aligned block of 8. So each block of the text is
    compared with the 8 windows of every value's last 15 bytes, and each hit is then compared in full. Shorter values
    need blocks of 4.
    """

    def __init__(self, secrets):
        self.patterns = {}
        for kind, value in secrets:
            for form, pattern in forms(value):
                self.patterns.setdefault(pattern, (kind, form))
        self._windows = {8: set(), 4: set()}
        for pattern in self.patterns:
            width = _width(pattern)
            self._windows[width].update(window for window, _ in _windows_of(pattern, width))

    def found_in(self, text):
        """The patterns that occur in the text."""
        text = b"\n".join([text, *_percent_decoded(text)])
        text += bytes(-len(text) % 8)
        found = set()
        for width, code in ((8, "Q"), (4, "I")):
            blocks = memoryview(text).cast(code)
            if hits := self._windows[width].intersection(blocks):
                found |= self._compared(text, blocks, width, hits)
        return found

    def _compared(self, text, blocks, width, hits):
        candidates = defaultdict(set)
        for pattern in self.patterns:
            if _width(pattern) == width:
                for window, offset in _windows_of(pattern, width):
                    if window in hits:
                        candidates[window].add((offset, len(pattern)))
        pieces = (
            text[begin : begin + length]
            for index, block in enumerate(blocks)
            if block in hits
            for offset, length in candidates[block]
            if (begin := index * width - offset) >= 0
        )
        return {piece for piece in pieces if piece in self.patterns}


def forms(value):
    """Yields (name, bytes) of each encoding. Percent-encoding is absent, because the text is decoded instead."""
    yield "plain", value
    for before in range(3):  # how many bytes precede it in a group of three
        encoded = base64.b64encode(bytes(before) + value)
        # The characters at the edges also depend on the neighbouring bytes.
        inner = encoded[(before * 8 + 5) // 6 : (before + len(value)) * 8 // 6]
        yield "base64", inner
        yield "base64url", inner.translate(bytes.maketrans(b"+/", b"-_"))
    yield "hex", binascii.hexlify(value)
    yield "hex", binascii.hexlify(value).upper()


def is_distinctive(value):
    """Whether a text that contains the value can only have it from us: it is long enough, and no number or repetition."""
    return len(value) >= 32 or (len(value) >= 8 and len(set(value)) >= 5 and not (value.isdigit() and len(value) < 20))


def _width(pattern):
    return 8 if len(pattern) >= 15 else 4


def _windows_of(pattern, width):
    """Yields each window of the last bytes, as the number that a block of the text is read as, with its offset."""
    end = len(pattern) - width
    for offset in range(end - width + 1, end + 1):
        yield int.from_bytes(pattern[offset : offset + width], sys.byteorder), offset


def _percent_decoded(text):
    return [urllib.parse.unquote_to_bytes(line) for line in text.splitlines() if b"%" in line] if b"%" in text else []


def _joined(files):
    return b"\n".join(files.values())


def _location(pattern, matcher, files):
    """Says which kind of secret is where, without the secret."""
    kind, form = matcher.patterns[pattern]
    for file, text in files.items():
        if (at := text.find(pattern)) >= 0:
            line = text.count(b"\n", 0, at) + 1
            return f"{kind} ({form}), line {line} of {file}"
    return f"{kind} ({form}, percent-encoded)"


def _secrets():
    """Returns [(kind, value)], and how many values are left out."""
    if not SECRETS.exists():
        raise Failure(f"{SECRETS} is missing: the environment was started by an earlier version; make down, make up")
    values = {(line["kind"], line["value"].encode()) for line in map(json.loads, SECRETS.read_text().splitlines())}
    platform = json.loads((RUN / PLATFORM_CREDENTIALS).read_text())
    values |= {("secret-access-key", platform["secretAccessKey"].encode()), ("bearer token", TOKEN_START)}
    secrets = sorted(pair for pair in values if is_distinctive(pair[1]))
    return secrets, len(values) - len(secrets)


def _sources():
    """Returns {kind of source: {file or command: its bytes}}."""
    kube = Kube(KUBECONFIG)
    statuses, events, rest = _audit()
    own, sidecars = _logs()
    return {
        "statuses": {"audit log": statuses, **_objects(kube, "recordingdestinations")},
        "events": {"audit log": events, **_objects(kube, "events.events.k8s.io")},
        "pods and config maps": {**_objects(kube, "pods"), **_objects(kube, "configmaps")},
        "the rest of the audit log": {"audit log": rest},
        "the operator's logs": own,
        "the sidecars' logs": sidecars,
        "metrics": _metrics(kube),
        # This comes last, because the metrics were just read over that network, in plain HTTP.
        "the pods' network": {"capture": _network()},
    }


def _objects(kube, resource):
    return {resource: kube.must("get", resource, "--all-namespaces", "--output", "json").encode()}


def _audit():
    """Returns the statuses and events that our components wrote, and the other lines. Lines outlive their objects."""
    statuses, events, rest = [], [], []
    ours = f'"username":"system:serviceaccount:{operator.NAME}:'.encode()
    for file in sorted(AUDIT_LOG.parent.glob(f"{AUDIT_LOG.stem}*.log")):
        for line in file.read_bytes().splitlines():
            is_status = ours in line and b'"resource":"recordingdestinations"' in line and b'"verb":"patch"' in line
            is_event = ours in line and b'"resource":"events"' in line
            (statuses if is_status else events if is_event else rest).append(line)
    return b"\n".join(statuses), b"\n".join(events), b"\n".join(rest)


def _logs():
    _link_logs()
    logs = {file.name: file.read_bytes() for file in sorted(KEPT_LOGS.iterdir())}
    sidecars = {name: text for name, text in logs.items() if name.split("+")[1] == SIDECAR}
    return {name: text for name, text in logs.items() if name not in sidecars}, sidecars


def _link_logs():
    KEPT_LOGS.mkdir(exist_ok=True)
    for pattern in (f"{operator.NAME}_*/*/*.log*", f"*/{SIDECAR}/*.log*"):
        for log in (log for logs in POD_LOGS for log in logs.glob(pattern)):
            if log.suffix in (".gz", ".tmp"):  # copies of a log that has been linked before
                continue
            try:
                kept = KEPT_LOGS / f"{log.parts[-3]}+{log.parts[-2]}+{log.stat().st_ino}"
                if not kept.exists():
                    os.link(log, kept)
            except (FileNotFoundError, FileExistsError):  # it was removed, or rotated and linked, in between
                pass


def _metrics(kube):
    pods = json.loads(kube.must("get", "pods", "--namespace", operator.NAME, "--output", "json"))["items"]
    answers = {}
    for pod in pods:
        if not pod["metadata"].get("deletionTimestamp"):
            name = pod["metadata"]["name"]
            path = f"/api/v1/namespaces/{operator.NAME}/pods/{name}:8080/proxy/metrics"
            answers[name] = kube.must("get", "--raw", path).encode()
    return answers


def _network():
    """All that pods sent and received. The broker and AWS must be among the senders: else the capture proves nothing."""
    traffic = capture.end()
    for who, port in {"the broker or the webhook": 8443, "the stand-in for AWS": environment.AWS_TLS_PORT}.items():
        if not traffic.bytes_sent_from(port):
            raise Failure(f"{who} sent nothing in the pods' network: the capture is not of that network")
    return traffic.all_bytes()


def _prove_that_it_can_fail(secrets, sources):
    """Each source must hold something of this run, and a planted secret must be found in every encoding."""
    if missing := KINDS - {kind for kind, _ in secrets}:
        raise Failure(f"the run used no {' and no '.join(sorted(missing))}, so the scan would prove nothing")
    used = [json.loads(line) for line in ACCESS_LOG.read_text().splitlines()]
    names = {entry.get(key, "") for entry in used for key in ("bucket", "key", "roleARN")}
    of_this_run = Matcher([("name", name.encode()) for name in names if is_distinctive(name.encode())])
    controller = Matcher([("name", b"recording-operator-controller")])
    metrics = Matcher([("name", b"recording_operator_broker_credentials_duration_seconds_count")])
    expected = {
        "statuses": of_this_run,
        "events": of_this_run,
        "pods and config maps": controller,
        "the rest of the audit log": controller,
        "the operator's logs": of_this_run,
        "the sidecars' logs": of_this_run,
        "metrics": metrics,
        "the pods' network": metrics,
    }
    for name, files in sources.items():
        if not expected[name].found_in(_joined(files)):
            raise Failure(f"{name} holds nothing of this run, so the scan would find no secret there either")
    _require_trace(sources["pods and config maps"]["pods"])
    for kind, value in {kind: (kind, value) for kind, value in secrets}.values():
        matcher = Matcher([(kind, value)])
        if unseen := [name for name, text in planted(value) if not matcher.found_in(text)]:
            raise Failure(f"a planted {kind} was not found as {', '.join(unseen)}")


def planted(value):
    """Yields (encoding, a text that holds the value in that encoding)."""
    percent = "".join(f"%{byte:02X}" for byte in value).encode()
    yield "plain", b'{"message":"denied for ' + value + b'!"}'
    yield "percent-encoded", b"POST /?ExternalId=" + urllib.parse.quote_from_bytes(value, safe="").encode() + b"&a=b"
    yield "percent-encoded throughout", b"?ExternalId=" + percent + b"&a=b"
    for before in (b"", b"a", b"ab"):
        yield "base64", b'{"data":"' + base64.b64encode(before + value + b"}") + b'"}'
        yield "base64url", b"token=" + base64.urlsafe_b64encode(before + value + b"}")
    yield "hex", b"0x" + value.hex().encode()
    yield "hex", b"0x" + value.hex().upper().encode()


def _require_trace(pods):
    for pod in json.loads(pods)["items"]:
        if pod["metadata"]["namespace"] == operator.NAME:
            for container in pod["spec"]["containers"]:
                if {"name": "RUST_LOG", "value": "trace"} not in container.get("env", []):
                    raise Failure(f"{pod['metadata']['name']} does not log at TRACE, so the scan would miss secrets in its log")


if __name__ == "__main__":
    try:
        run()
    except Failure as failure:
        sys.exit(f"secret scan: {failure}")
