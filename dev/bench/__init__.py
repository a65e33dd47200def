"""`make bench`: what is measured is printed as tables, with the machine it was measured on.

`python3 -m dev.bench NAME …` runs a part alone.

sink              the other end: a Go program that is enough of S3, and can fail (sink/); this module starts it
clients           ours and its peers, each as a command line
transfer-manager  the shortest `mv` made of the S3 Transfer Manager, AWS's library for Rust
uploads           speed, processor time and memory, side by side in one interleaved run
recovery          what one upload costs beside its bytes: latency, requests, what is sent again after kill -9
faults            the same faults for all: what each loses
configuration     how long a running sidecar takes to act on an edit; this one needs the cluster
results, plot     the tables, and the picture beside them in the README
"""

from . import configuration, faults, recovery, results, uploads

PARTS = {"uploads": uploads.run, "recovery": recovery.run, "faults": faults.run, "configuration": configuration.run}


def run():
    """All of it, into the README."""
    results.write(show(PARTS))


def show(names):
    parts = [PARTS[name]() for name in names]
    results.show(parts)
    return parts
