"""A real Kubernetes cluster and what runs in or beside it, started, reused and removed."""
