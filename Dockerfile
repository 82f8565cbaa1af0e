# The core image, for those who have a container engine: docker build -t NAME:TAG .
# Same content as hack/image.sh makes without one: three static programs, certificates, nobody's account, no shell.

FROM rust:1.95-bookworm AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends musl-tools ca-certificates \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# The toolchain file names the version and the target; rustup fetches what this image lacks.
COPY rust-toolchain.toml ./
RUN rustup show
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY crates crates
COPY e2e e2e
RUN cargo build --locked --release -p backproof-controller -p backproof-webhook -p backproof-executor
RUN mkdir -p /image/bin /image/etc/ssl/certs /image/tmp \
 && chmod 1777 /image/tmp \
 && cp target/x86_64-unknown-linux-musl/release/backproof-controller \
       target/x86_64-unknown-linux-musl/release/backproof-webhook \
       target/x86_64-unknown-linux-musl/release/backproof-executor /image/bin/ \
 && strip --strip-all /image/bin/backproof-* \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && printf 'root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n' >/image/etc/passwd \
 && printf 'root:x:0:\nnogroup:x:65534:\n' >/image/etc/group

FROM scratch
COPY --from=build /image/ /
ENV PATH=/bin
USER 65534:65534
