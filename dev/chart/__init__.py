"""What the chart renders, as objects; nothing is installed."""

import json
import subprocess

from .. import tools
from ..paths import ROOT

NAME = "recording-operator"
CHART = ROOT / "charts" / NAME
ALERTS = CHART / "files" / "alerts.yaml"
# The one value without a default.
PRINCIPAL = "--set=platform.principalARN=arn:aws:iam::103850359708:user/RingDNA_Web"


def helm(verb, *settings, chart=CHART):
    """Runs `helm template` or `helm lint` on the chart, with the value that has no default."""
    name = [NAME] if verb == "template" else []
    argv = [tools.command("helm"), verb, *name, chart, "--namespace", NAME, PRINCIPAL, *settings]
    return subprocess.run(argv, capture_output=True, text=True)


def render(*settings):
    """The rendered objects by kind and name."""
    rendered = helm("template", *settings)
    assert rendered.returncode == 0, rendered.stderr
    return {(it["kind"], it["metadata"]["name"]): it for it in read(rendered.stdout)}


def read(text):
    """The objects of a YAML text. Python has no YAML parser, and `kubectl label --local` prints JSON without a cluster."""
    argv = [tools.command("kubectl"), "label", "--local", "--filename=-", "--output=json", "read-as=json"]
    rest = subprocess.run(argv, input=text, check=True, capture_output=True, text=True).stdout
    while rest := rest.lstrip():
        it, end = json.JSONDecoder().raw_decode(rest)
        yield it
        rest = rest[end:]


def judged(policies, requests):
    """What each request is refused for, or warned of, by the API server's own code: a list of messages each. A request has
    user, operation, resource, object and oldObject."""
    given = json.dumps({"policies": policies, "requests": requests})
    return json.loads(subprocess.run([tools.command("policies")], input=given, check=True, capture_output=True, text=True).stdout)
