# The worker on the libraries that it loads, and nothing else: no shell, no package manager.
#
#   docker build -f deploy/worker.Dockerfile -t tributary-worker:0.2.0 .
#
#   --build-arg PROGRAMS=prebuilt   takes the programs in build/release/bin, built on the same Debian, instead of compiling them
#   --build-arg BASE=...            another Debian 12 to build on; nothing of it is in the image but those libraries
ARG BASE=debian:bookworm-slim
ARG PROGRAMS=compiled

FROM ${BASE} AS compiled
WORKDIR /source
COPY . .
RUN apt-get update && bash deploy/install-deps.sh && apt-get install -y --no-install-recommends tzdata
RUN cmake --preset release && cmake --build --preset release --target tributary-worker
RUN mkdir /programs && cp build/release/bin/tributary-worker /programs/

FROM ${BASE} AS prebuilt
WORKDIR /source
RUN apt-get update && apt-get install -y --no-install-recommends binutils ca-certificates gcc libc6-dev libcpp-httplib0.11 \
    libtcmalloc-minimal4 libgrpc++1.51 libopenblas0-openmp libpng16-16 libprometheus-cpp-core1.0 libtorch1.13 libturbojpeg0 \
    libyaml-cpp0.7 python3 tzdata
COPY deploy/package deploy/package
COPY build/release/bin/tributary-worker /programs/

FROM ${PROGRAMS} AS root
RUN python3 deploy/package/image_root.py /image /programs/tributary-worker
# Writable by whichever user the container is given, who is of group 0.
RUN install -d -m 0770 -o 10001 -g 0 /image/var/lib/tributary

FROM scratch
COPY --from=root /image /
# A number, because Kubernetes cannot tell that a name is not root's. Any other will do.
USER 10001:0
ENTRYPOINT ["/usr/bin/tributary-worker"]
CMD ["run", "--config", "/etc/tributary/worker.yaml"]
