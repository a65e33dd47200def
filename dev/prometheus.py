"""A Prometheus beside the cluster, which scrapes what the chart's monitors select and judges by its alerts.

    python3 -m dev.prometheus up [--rules FILE]     (prints where it answers; FILE instead of the chart's own alerts)
    python3 -m dev.prometheus query -               (what the expression on standard input gives, as JSON)
    python3 -m dev.prometheus undocumented          (our metrics that have no help text)
    python3 -m dev.prometheus down

The ServiceMonitor and the PodMonitor are read from the chart and translated: pods are found by the labels that they
select, and what they relabel is relabelled.
"""

import argparse
import json
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from . import chart, packages, process, sandbox
from .control_plane import ADMIN
from .forward import forward
from .operator import NAME
from .paths import KUBECONFIG, RUN
from .progress import Failure, wait_for

PROCESS = "prometheus"
PORT = 9090
DIRECTORY = RUN / "prometheus"


def up(rules):
    """Starts it, or has it read its rules anew; returns where it answers."""
    if not KUBECONFIG.exists():
        raise Failure("there is no cluster to scrape: make up")
    binary = packages.prometheus("prometheus")
    if not binary:
        raise Failure("prometheus is not on PATH and there is no apt to unpack it from: install it")
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    (DIRECTORY / "rules.yaml").write_text(Path(rules).read_text())
    (DIRECTORY / "prometheus.json").write_text(json.dumps(configuration()))
    was_running = process.running(PROCESS)
    process.start(
        PROCESS,
        [binary, f"--config.file={DIRECTORY / 'prometheus.json'}", f"--storage.tsdb.path={DIRECTORY / 'data'}",
         f"--web.listen-address={sandbox.NODE_IP}:{PORT}", "--web.enable-lifecycle", "--log.level=warn"],
        via=sandbox.network,
    )  # fmt: skip
    url = f"http://127.0.0.1:{forward(PROCESS, PORT, PORT)}"
    wait_for("Prometheus", lambda: process.require(PROCESS) or _asked(f"{url}/-/ready"), 30)
    if was_running:
        _asked(f"{url}/-/reload", method="POST")
    return url


def down():
    process.stop(PROCESS)
    process.stop(f"forward-{PROCESS}")


def query(expression):
    """The results of an instant query: each with its labels, `metric`, and its `value`."""
    return _api("query", query=expression)["result"]


def undocumented():
    """Names of our metrics that have no help text."""
    told = _api("metadata")
    ours = {name: texts for name, texts in told.items() if name.startswith("recording_")}
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
    """Scrapes the pods that the chart's monitors select, every second, as tests wait for it."""
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
            _job(NAME, service["spec"]["selector"], port["targetPort"], endpoint, [NAME]),
            _job("uploaders", uploaders["selector"]["matchLabels"], pods["port"], pods, None),
        ],
    }


def _job(name, labels, port, endpoint, namespaces):
    selected = {f"__meta_kubernetes_pod_label_{re.sub('[^A-Za-z0-9]', '_', key)}": value for key, value in labels.items()}
    selected["__meta_kubernetes_pod_container_port_name"] = port
    keep = [{"source_labels": [key], "regex": re.escape(value), "action": "keep"} for key, value in selected.items()]
    # As the Prometheus Operator names them.
    targets = [
        {"source_labels": [f"__meta_kubernetes_{source}"], "target_label": target}
        for source, target in (("namespace", "namespace"), ("pod_name", "pod"), ("pod_container_name", "container"))
    ]
    own = [
        {"source_labels": it["sourceLabels"], "target_label": it["targetLabel"]} for it in endpoint.get("relabelings", [])
    ]
    discovery = {"role": "pod", "kubeconfig_file": str(ADMIN)}
    if namespaces:
        discovery["namespaces"] = {"names": namespaces}
    return {
        "job_name": name,
        "honor_labels": endpoint.get("honorLabels", False),
        "kubernetes_sd_configs": [discovery],
        "relabel_configs": keep + targets + own,
    }


def _asked(url, method="GET"):
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as answer:
        return answer.status == 200


def _main():
    parser = argparse.ArgumentParser(prog="python3 -m dev.prometheus", description=__doc__)
    parser.add_argument("command", choices=("up", "query", "undocumented", "down"))
    parser.add_argument("expression", nargs="?", choices=("-",))
    parser.add_argument("--rules", default=chart.ALERTS)
    arguments = parser.parse_args()
    try:
        if arguments.command == "up":
            print(up(arguments.rules))
        elif arguments.command == "query":
            print(json.dumps(query(sys.stdin.read())))
        elif arguments.command == "undocumented":
            print("".join(f"{name}\n" for name in undocumented()), end="")
        else:
            down()
    except (Failure, subprocess.CalledProcessError) as failure:
        sys.exit(f"prometheus: {failure}")


if __name__ == "__main__":
    _main()
