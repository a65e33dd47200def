# For builders that read Dockerfiles (docker buildx, podman, buildah, kaniko):
#   docker buildx imagetools inspect docker.io/library/rust:1.95-bookworm    # prints the digest of the builder's image
#   docker build --build-arg BUILDER=docker.io/library/rust:1.95-bookworm@sha256:DIGEST -t REGISTRY/recording-operator:0.2.0 .
# No digest is written here, because none was verified. The one that you give pins the compiler and every Debian package: nothing
# is installed from apt, and Cargo.lock pins the crates.
# The same image as the one that the tests run, which dev/cluster/image.py lays out without a daemon: two static binaries.
ARG BUILDER=docker.io/library/rust:1.95-bookworm
FROM ${BUILDER} AS build
ARG BUILDER
RUN case "$BUILDER" in *@sha256:*) ;; *) echo "BUILDER is $BUILDER: a tag can change; pass --build-arg BUILDER=$BUILDER@sha256:DIGEST" >&2; exit 1 ;; esac
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
# The other members of the workspace, of which nothing is in the binaries.
COPY dev/bench/healthz dev/bench/healthz
COPY fuzz fuzz
RUN RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs" \
    cargo build --release --locked --bin recording-operator --bin recording-uploader --target "$(uname -m)-unknown-linux-gnu" \
    && mkdir -p /out/tmp && chmod 1777 /out/tmp \
    && mv target/*/release/recording-operator target/*/release/recording-uploader /out/

FROM scratch
COPY --from=build /out/ /
USER 65532:65532
