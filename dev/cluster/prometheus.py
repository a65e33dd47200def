"""A Prometheus beside the cluster, which scrapes what the chart's monitors select and evaluates its alerts.

    python3 -m dev.cluster.prometheus up [--rules FILE]     (prints its URL; FILE replaces the chart's alerts)
    python3 -m dev.cluster.prometheus query -               (evaluates the expression on standard input; prints JSON)
    python3 -m dev.cluster.prometheus undocumented          (prints our metrics that have no help text)
    python3 -m dev.cluster.prometheus down

The ServiceMonitor and the PodMonitor are read from the chart and translated: pods are found by the labels that they
select, and what they relabel is relabelled. Debian's Prometheus is built without the discovery of Kubernetes' pods, so
a process beside it lists them, under the labels that this discovery gives them.
"""

import argparse
import json
import re
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from .. import chart, packages, process
from ..chart import NAME
from ..paths import KUBECONFIG, RUN
from ..progress import Failure, wait_for
from . import pki, sandbox
from .forward import forward

PROCESS = "prometheus"
DISCOVERY = "prometheus-targets"
PORT = 9090
DIRECTORY = RUN / "prometheus"


def up(rules):
    """Starts Prometheus, or makes a running one reload its rules; returns its URL."""
    if not KUBECONFIG.exists():
        raise Failure("there is no cluster to scrape: make up")
    binary = packages.prometheus("prometheus")
    if not binary:
        raise Failure("prometheus is not on PATH and there is no apt to unpack it from: install it")
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    (DIRECTORY / "rules.yaml").write_text(Path(rules).read_text())
    (DIRECTORY / "prometheus.json").write_text(json.dumps(configuration()))
    process.start(DISCOVERY, [sys.executable, "-m", "dev.cluster.prometheus", "discover"], via=sandbox.outside)
    was_running = process.running(PROCESS)
    process.start(
        PROCESS,
        [binary, f"--config.file={DIRECTORY / 'prometheus.json'}", f"--storage.tsdb.path={DIRECTORY / 'data'}",
         f"--web.listen-address={sandbox.NODE_IP}:{PORT}", "--web.enable-lifecycle", "--log.level=warn"],
        via=sandbox.network,
    )  # fmt: skip
    url = f"http://127.0.0.1:{forward(PROCESS, PORT, PORT)}"
    wait_for("Prometheus", lambda: process.require(PROCESS) or _responds(f"{url}/-/ready"), 30)
    if was_running:
        _responds(f"{url}/-/reload", method="POST")
    return url


def down():
    process.stop(PROCESS)
    process.stop(DISCOVERY)
    process.stop(f"forward-{PROCESS}")


def discover():
    """Writes the file of targets every second: each port of each container of each pod that has an address."""
    file, port = DIRECTORY / "targets.json", json.loads((RUN / "forwards/apiserver.json").read_text())
    trust = ssl.create_default_context(cafile=str(pki.PKI / "ca.crt"))
    trust.load_cert_chain(pki.PKI / "admin.crt", pki.PKI / "admin.key")
    while True:
        try:
            with urllib.request.urlopen(f"https://127.0.0.1:{port}/api/v1/pods", context=trust, timeout=5) as answer:
                pods = json.load(answer)["items"]
        except OSError:
            pods = None  # it is away; what was known stands
        if pods is not None:
            new = file.with_suffix(".new")
            new.write_text(json.dumps([target for pod in pods for target in _targets(pod)]))
            new.rename(file)
        time.sleep(1)


def _targets(pod):
    address, metadata = pod["status"].get("podIP"), pod["metadata"]
    of_pod = {"namespace": metadata["namespace"], "pod_name": metadata["name"]}
    for kind in ("label", "annotation"):
        of_pod |= {f"pod_{kind}_{_name(key)}": value for key, value in metadata.get(f"{kind}s", {}).items()}
    for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", []):
        for port in container.get("ports", []) if address else []:
            labels = of_pod | {"pod_container_name": container["name"], "pod_container_port_name": port.get("name", "")}
            labels = {f"__meta_kubernetes_{key}": value for key, value in labels.items()}
            yield {"targets": [f"{address}:{port['containerPort']}"], "labels": labels}


def _name(key):
    return re.sub("[^A-Za-z0-9]", "_", key)


def query(expression):
    """The results of an instant query, each with its labels (`metric`) and its `value`."""
    return _api("query", query=expression)["result"]


def undocumented():
    """The names of our metrics that have no help text."""
    metadata = _api("metadata")
    ours = {name: texts for name, texts in metadata.items() if name.startswith("recording_")}
    if len(ours) < 20:
        raise Failure(f"only {len(ours)} metrics were scraped")
    return sorted(name for name, texts in ours.items() if any(len(it["help"]) < 10 for it in texts))


def _api(what, **parameters):
    port = json.loads((RUN / "forwards" / f"{PROCESS}.json").read_text())
    url = f"http://127.0.0.1:{port}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise Failure(error.read().decode()) from error


def configuration():
    """Scrapes the pods that the chart's monitors select, every second, because tests wait for it."""
    objects = chart.render("--set=monitoring.prometheusOperator=true")
    operator = objects["ServiceMonitor", NAME]["spec"]
    service = next(
        it for (kind, _), it in objects.items()
        if kind == "Service" and operator["selector"]["matchLabels"].items() <= it["metadata"]["labels"].items()
    )  # fmt: skip
    (endpoint,) = operator["endpoints"]
    (port,) = (it for it in service["spec"]["ports"] if it["name"] == endpoint["port"])
    uploaders = objects["PodMonitor", f"{NAME}-uploaders"]["spec"]
    (pods,) = uploaders["podMetricsEndpoints"]
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(DIRECTORY / "rules.yaml")],
        "scrape_configs": [
            _job(NAME, service["spec"]["selector"], port["targetPort"], endpoint, NAME),
            _job("uploaders", uploaders["selector"]["matchLabels"], pods["port"], pods, None),
        ],
    }


def _job(name, labels, port, endpoint, namespace):
    selected = {f"__meta_kubernetes_pod_label_{_name(key)}": value for key, value in labels.items()}
    selected["__meta_kubernetes_pod_container_port_name"] = port
    keep = [{"source_labels": [key], "regex": re.escape(value), "action": "keep"} for key, value in selected.items()]
    # The Prometheus Operator adds the same labels.
    targets = [
        {"source_labels": [f"__meta_kubernetes_{source}"], "target_label": target}
        for source, target in (("namespace", "namespace"), ("pod_name", "pod"), ("pod_container_name", "container"))
    ]
    own = [
        {"source_labels": it["sourceLabels"], "target_label": it["targetLabel"]} for it in endpoint.get("relabelings", [])
    ]
    if namespace:
        keep.append({"source_labels": ["__meta_kubernetes_namespace"], "regex": namespace, "action": "keep"})
    return {
        "job_name": name,
        "honor_labels": endpoint.get("honorLabels", False),
        "file_sd_configs": [{"files": [str(DIRECTORY / "targets.json")]}],
        "relabel_configs": keep + targets + own,
    }


def _responds(url, method="GET"):
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as answer:
        return answer.status == 200


def _main():
    parser = argparse.ArgumentParser(prog="python3 -m dev.cluster.prometheus", description=__doc__)
    parser.add_argument("command", choices=("up", "query", "undocumented", "discover", "down"))
    parser.add_argument("expression", nargs="?", choices=("-",))
    parser.add_argument("--rules", default=chart.ALERTS)
    arguments = parser.parse_args()
    try:
        if arguments.command == "up":
            print(up(arguments.rules))
        elif arguments.command == "query":
            print(json.dumps(query(sys.stdin.read())))
        elif arguments.command == "discover":
            discover()
        elif arguments.command == "undocumented":
            print("".join(f"{name}\n" for name in undocumented()), end="")
        else:
            down()
    except (Failure, subprocess.CalledProcessError) as failure:
        sys.exit(f"prometheus: {failure}")


if __name__ == "__main__":
    _main()
