"""The steps of `make demo`: a tenant is proved, a recording is delivered, and the customer's mistake loses none."""

import hashlib
import time
import uuid

from ..aws.accounts import ROLE_NAME, enforcing_trust, trust
from ..aws.client import AwsError
from ..paths import ROOT
from ..progress import Failure, say, step, wait_for
from . import recording

NAMESPACE = "demo-acme"
ACCOUNT = "111111111111"
BUCKET = "acme-demo-recordings"
DESTINATION = "recordingdestination/acme"
POLL_SECONDS = 5  # how often a sidecar asks for its destination's state
REVALIDATE_SECONDS = 10  # the least time between two validations on demand


def tell(kube, customer, recorder):
    """Runs the steps. `recorder` makes recordings: it has start(), record(name, bytes), show_spool() and stop()."""
    external_id = str(uuid.uuid4())
    clear(kube, customer)
    try:
        _onboard(kube, customer, external_id)
        _deliver(customer, recorder)
        _lose_and_regain(kube, customer, recorder, external_id)
    finally:
        recorder.stop()
        with step("removing the demo's tenant"):
            clear(kube, customer)
    title("Done")
    print("A recording went into the customer's bucket, and none was lost while the customer's role was unsafe.")


def title(text):
    print(f"\n== {text}", flush=True)


def _onboard(kube, customer, external_id):
    title("The customer, in AWS account " + ACCOUNT)
    customer.set_up(BUCKET, external_id)
    print(f"bucket {BUCKET}, role {customer.role_arn()}, External ID: chosen, handed over, not shown")

    title("The platform engineer applies the tenant's YAML")
    manifest = tenant_yaml(external_id)
    print(manifest.replace(external_id, "<the External ID>"))
    kube.must("create", "namespace", NAMESPACE)
    began = time.monotonic()
    kube.must("apply", "--namespace", NAMESPACE, "--filename", "-", given=manifest)
    kube.must("wait", "--namespace", NAMESPACE, "--for=condition=Ready", "--timeout=60s", DESTINATION)
    say(f"apply to Ready: {time.monotonic() - began:.2f} s, kubectl included")
    kube.show("get", "recdest", "--namespace", NAMESPACE)


def _deliver(customer, recorder):
    recorder.start()
    wav = recording.wav()
    _record(recorder, "call-0001", wav)
    _arrives(customer, "calls/call-0001.wav", wav)
    _arrives(customer, "calls/call-0001.json", recording.companion("call-0001.wav"))


def _lose_and_regain(kube, customer, recorder, external_id):
    title("The customer removes the External ID condition from the role's trust policy")
    customer.set_trust(trust())
    _revalidate(kube)
    kube.must("wait", "--namespace", NAMESPACE, "--for=condition=Ready=False", "--timeout=60s", DESTINATION)
    kube.show("get", "recdest", "--namespace", NAMESPACE)
    kube.show("get", DESTINATION, "--namespace", NAMESPACE, "--output",
              'jsonpath={.status.conditions[?(@.type=="Ready")].message}{"\\n"}')  # fmt: skip
    time.sleep(POLL_SECONDS + 1)
    wav = recording.wav()[::-1]
    _record(recorder, "call-0002", wav)
    time.sleep(POLL_SECONDS + 1)
    if "calls/call-0002.wav" in customer.list_objects(BUCKET):
        raise Failure("a recording was uploaded while the destination was not Ready")
    print("paused: call-0002 waits in the spool, nothing is lost:")
    recorder.show_spool()

    title("The customer puts it back")
    customer.set_trust(enforcing_trust(external_id))
    time.sleep(REVALIDATE_SECONDS - POLL_SECONDS)
    _revalidate(kube)
    kube.must("wait", "--namespace", NAMESPACE, "--for=condition=Ready", "--timeout=60s", DESTINATION)
    kube.show("get", "recdest", "--namespace", NAMESPACE)
    _arrives(customer, "calls/call-0002.wav", wav)
    kube.show("get", "events", "--namespace", NAMESPACE, "--field-selector=involvedObject.kind=RecordingDestination",
              "--output=custom-columns=TYPE:.type,REASON:.reason")  # fmt: skip


def _record(recorder, name, wav):
    """Records a file, and then its companion."""
    recorder.record(f"{name}.wav", wav)
    recorder.record(f"{name}.json", recording.companion(f"{name}.wav"))
    print(f"recorded {name}.wav, {len(wav):,} bytes, and {name}.json")


def _arrives(customer, key, content):
    with step(f"waiting for s3://{BUCKET}/{key}"):
        wait_for(key, lambda: key in customer.list_objects(BUCKET), 60)
    arrived = customer.get_object(BUCKET, key)
    checksum = dict(customer.head_object(BUCKET, key).headers).get("x-amz-checksum-crc64nvme", "none")
    here, there = (hashlib.sha256(data).hexdigest() for data in (content, arrived))
    print(f"  recorded  sha256 {here}\n  in bucket sha256 {there}, CRC64NVME {checksum}")
    if here != there:
        raise Failure(f"{key} differs from what was recorded")


def _revalidate(kube):
    kube.must("annotate", "--namespace", NAMESPACE, "--overwrite", DESTINATION,
              f"recordings.revenue.io/revalidate={time.time()}")  # fmt: skip


def tenant_yaml(external_id):
    """The example with this customer's three values."""
    text = (ROOT / "examples" / "tenant.yaml").read_text()
    values = {"acme-recordings": BUCKET, "5f0c2f7e-9a41-4a55-8a0e-3f1f6a2d7c19": external_id}
    for example, value in values.items():
        if example not in text:
            raise Failure(f"examples/tenant.yaml no longer has {example}")
        text = text.replace(example, value)
    return text


def clear(kube, customer):
    kube.run("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true", "--timeout=60s")
    for undo in (lambda: customer.delete_role(ROLE_NAME), lambda: customer.delete_bucket(BUCKET)):
        try:
            undo()
        except AwsError as error:
            if not error.code.startswith("NoSuch"):
                raise
