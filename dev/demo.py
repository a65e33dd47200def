"""`make demo`: the main job, from a tenant's YAML to the recording in the tenant's bucket.

CONTEXT, IMAGE and AWS_ENDPOINT_URL point it at a cluster of the caller's. The stand-in must then be
reachable at AWS_ENDPOINT_URL from here and, unless the operator is installed already, from the pods.
"""

import hashlib
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

from . import environment, operator, recording, tools
from .aws.accounts import ROLE_NAME, Customer, enforcing_trust, trust
from .kube import Kube
from .paths import IS_ROOT, KUBECONFIG, ROOT
from .progress import Failure, say, step, wait_for

NAMESPACE = "demo-acme"
ACCOUNT = "111111111111"
BUCKET = "acme-demo-recordings"
DESTINATION = "recordingdestination/acme"


def run():
    context = os.environ.get("CONTEXT")
    if context:
        return _show(_callers_cluster(context), os.environ["AWS_ENDPOINT_URL"])
    if not IS_ROOT:
        from . import demo_processes

        return demo_processes.run()
    was_up = environment.running()
    try:
        values = environment.up(with_operator=True)
        _show(Kube(KUBECONFIG), values["AWS_ENDPOINT_URL"])
        _sizes()
    finally:
        if not was_up:
            environment.down()
            say("cleaned up; `make up` keeps the environment running")


def _callers_cluster(context):
    missing = [name for name in ("IMAGE", "AWS_ENDPOINT_URL") if not os.environ.get(name)]
    if missing:
        raise Failure(f"CONTEXT is set, so {' and '.join(missing)} must be too: the demo then uses your own cluster")
    kube = Kube(os.environ.get("KUBECONFIG"), context)
    if kube.run("get", "deployment", operator.NAME + "-controller", "--namespace", operator.NAME).returncode == 0:
        say(f"the operator is installed in {context}: using it as it is")
    else:
        operator.install_image(kube, os.environ["IMAGE"], os.environ["AWS_ENDPOINT_URL"])
    return kube


def _show(kube, endpoint):
    customer = Customer(endpoint, ACCOUNT)
    external_id = str(uuid.uuid4())
    _clear(kube, customer)
    try:
        _onboard(kube, customer, external_id)
        _deliver(kube, customer)
        _lose_and_regain(kube, customer, external_id)
    finally:
        with step("removing the demo's tenant"):
            _clear(kube, customer)
    _title("Done")
    print("A recording went from a pod into the customer's bucket; none was lost while the customer's role was unsafe.")


def _onboard(kube, customer, external_id):
    _title("The customer, in AWS account " + ACCOUNT)
    customer.set_up(BUCKET, external_id)
    print(f"bucket {BUCKET}, role {customer.role_arn()}, External ID: chosen, handed over, not shown")

    _title("The platform engineer applies the tenant's YAML")
    manifest = _tenant_yaml(external_id)
    print(manifest.replace(external_id, "<the External ID>"))
    kube.must("create", "namespace", NAMESPACE)
    began = time.monotonic()
    kube.must("apply", "--namespace", NAMESPACE, "--filename", "-", given=manifest)
    kube.must("wait", "--namespace", NAMESPACE, "--for=condition=Ready", "--timeout=60s", DESTINATION)
    say(f"apply to Ready: {time.monotonic() - began:.2f} s, kubectl included")
    kube.show("get", "recdest", "--namespace", NAMESPACE)


def _deliver(kube, customer):
    _title("A recorder pod gets its upload sidecar, and records")
    kube.must("apply", "--namespace", NAMESPACE, "--filename", "-", given=_recorder_yaml())
    with step("waiting for the pod"):
        kube.must("wait", "--namespace", NAMESPACE, "--for=condition=Ready", "--timeout=90s", "pod/recorder")
    kube.show("get", "pod", "recorder", "--namespace", NAMESPACE, "--output",
              "custom-columns=POD:.metadata.name,SIDECAR:.spec.initContainers[*].name,CONTAINER:.spec.containers[*].name,PHASE:.status.phase")  # fmt: skip
    wav = recording.wav()
    _record(kube, "call-0001", wav)
    _arrives(customer, "calls/call-0001.wav", wav)
    _arrives(customer, "calls/call-0001.json", recording.companion("call-0001.wav"))


def _lose_and_regain(kube, customer, external_id):
    _title("The customer removes the External ID condition from the role's trust policy")
    customer.set_trust(trust())
    _revalidate(kube)
    kube.must("wait", "--namespace", NAMESPACE, "--for=condition=Ready=False", "--timeout=60s", DESTINATION)
    kube.show("get", "recdest", "--namespace", NAMESPACE)
    kube.show("get", DESTINATION, "--namespace", NAMESPACE, "--output",
              'jsonpath={.status.conditions[?(@.type=="Ready")].message}{"\\n"}')  # fmt: skip
    time.sleep(6)  # the sidecar asks every five seconds
    wav = recording.wav()[::-1]
    _record(kube, "call-0002", wav)
    time.sleep(6)
    if "calls/call-0002.wav" in customer.list_objects(BUCKET):
        raise Failure("a recording was uploaded while the destination was not Ready")
    print("paused: call-0002 waits in the spool, nothing is lost:")
    kube.show("exec", "recorder", "--namespace", NAMESPACE, "--container", "recorder", "--", "ls", "-l", "/recordings")

    _title("The customer puts it back")
    customer.set_trust(enforcing_trust(external_id))
    time.sleep(4)  # validations are at least ten seconds apart
    _revalidate(kube)
    kube.must("wait", "--namespace", NAMESPACE, "--for=condition=Ready", "--timeout=60s", DESTINATION)
    kube.show("get", "recdest", "--namespace", NAMESPACE)
    _arrives(customer, "calls/call-0002.wav", wav)
    kube.show("get", "events", "--namespace", NAMESPACE, "--field-selector=involvedObject.kind=RecordingDestination",
              "--output=custom-columns=TYPE:.type,REASON:.reason")  # fmt: skip


def _record(kube, name, wav):
    """Files are taken once they are renamed into place, the companion after its recording."""
    for suffix, content in (("wav", wav), ("json", recording.companion(f"{name}.wav"))):
        file = f"/recordings/{name}.{suffix}"
        kube.must("exec", "--stdin", "recorder", "--namespace", NAMESPACE, "--container", "recorder", "--",
                  "sh", "-c", f"cat > {file}.part && mv {file}.part {file}", given=content)  # fmt: skip
    print(f"recorded {name}.wav, {len(wav):,} bytes, and {name}.json")


def _arrives(customer, key, content):
    with step(f"waiting for s3://{BUCKET}/{key}"):
        wait_for(key, lambda: key in customer.list_objects(BUCKET), 60)
    arrived = customer.get_object(BUCKET, key)
    checksum = dict(customer.head_object(BUCKET, key).headers).get("x-amz-checksum-crc64nvme", "none")
    here, there = (hashlib.sha256(data).hexdigest() for data in (content, arrived))
    print(f"  recorded  sha256 {here}\n  in bucket sha256 {there}, CRC64NVME {checksum}")
    if here != there:
        raise Failure(f"{key} is not what was recorded")


def _revalidate(kube):
    kube.must("annotate", "--namespace", NAMESPACE, "--overwrite", DESTINATION,
              f"recordings.revenue.io/revalidate={time.time()}")  # fmt: skip


def _tenant_yaml(external_id):
    """The example, with this customer's three values."""
    text = (ROOT / "examples" / "tenant.yaml").read_text()
    values = {"acme-recordings": BUCKET, "5f0c2f7e-9a41-4a55-8a0e-3f1f6a2d7c19": external_id}
    for example, value in values.items():
        if example not in text:
            raise Failure(f"examples/tenant.yaml no longer has {example}")
        text = text.replace(example, value)
    return text


def _recorder_yaml():
    """The example pod, waiting for recordings instead of making its own."""
    return (ROOT / "dev" / "manifests" / "recorder.yaml").read_text()


def _clear(kube, customer):
    kube.run("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true", "--timeout=60s")
    for undo in (lambda: customer.delete_role(ROLE_NAME), lambda: customer.delete_bucket(BUCKET)):
        try:
            undo()
        except Exception as error:  # nothing there is what is wanted
            if "NoSuch" not in str(error):
                raise


def _sizes():
    """Resident memory of our processes, as the node's kernel counts it."""
    _title("Resident memory")
    for status in sorted(Path("/proc").glob("[0-9]*/status")):
        try:
            argv = (status.parent / "cmdline").read_bytes().split(b"\0")
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:
            continue  # it ended meanwhile
        if argv[0] in (b"/recording-operator", b"/recording-uploader"):
            name = b" ".join(argv[:2] if argv[0].endswith(b"operator") else argv[:1]).decode()
            print(f"  {name[1:]:<32}{int(fields['VmRSS'].split()[0]) / 1024:6.1f} MiB")


def _title(text):
    print(f"\n== {text}", flush=True)
