"""`make bench`: what is measured is printed as tables, with the machine it was measured on.

`python3 -m dev.bench NAME …` runs a part alone.
"""

from . import configuration, distance, faults, recovery, results, scale, tenants, uploads

PARTS = {
    "distance": distance.run,
    "uploads": uploads.run,
    "recovery": recovery.run,
    "faults": faults.run,
    "configuration": configuration.run,
    "scale": scale.run,
    "tenants": tenants.run,
}


def run():
    """All of it, into the README."""
    results.write(show(PARTS))


def show(names):
    parts = [PARTS[name]() for name in names]
    results.show(parts)
    return parts
