# For builders that read Dockerfiles (docker buildx, podman, buildah, kaniko):
#   docker build -t REGISTRY/recording-operator:0.2.0 .
# The same image as the one that the tests run, which dev/cluster/image.py lays out without a daemon: two static binaries.
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
# The workspace's other member, of which nothing is in the binaries.
COPY fuzz fuzz
RUN RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs" \
    cargo build --release --locked --bin recording-operator --bin recording-uploader --target "$(uname -m)-unknown-linux-gnu" \
    && mkdir -p /out/tmp && chmod 1777 /out/tmp \
    && mv target/*/release/recording-operator target/*/release/recording-uploader /out/

FROM scratch
COPY --from=build /out/ /
USER 65532:65532
