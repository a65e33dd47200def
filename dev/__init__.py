"""The environment that users and tests share: a real Kubernetes cluster and a stand-in for AWS.

Standard library only, so that a bare machine can run it. `python3 -m dev --help` lists the commands.

paths, progress, lock, process   what every other module stands on
doctor                           what the machine must have before anything starts
tools, packages                  pinned tools, built or unpacked into target/dev/tools
sandbox, forward                 the network, mounts and cgroups that the cluster lives in, and the way in
pki, control_plane, node         the parts of the cluster; node_programs, second_node
image, operator                  images without a daemon; the product, built and installed as a user would
environment                      all of the above and dev.aws, started and stopped in order
bench                            the uploader beside its peers, measured
suite                            the steps of `make test`
"""
