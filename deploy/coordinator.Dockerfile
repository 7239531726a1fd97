# The coordinator and the operator's command on the libraries that they load, and nothing else: no shell, no package manager.
#
#   docker build -f deploy/coordinator.Dockerfile -t tributary-coordinator:0.2.0 .
#
#   --build-arg PROGRAMS=prebuilt   takes the programs in build/release/bin, built on the same Debian, instead of compiling them
#   --build-arg BASE=...            another Debian 12 to build on; nothing of it is in the image but those libraries
ARG BASE=debian:bookworm-slim
ARG PROGRAMS=compiled

FROM ${BASE} AS compiled
WORKDIR /source
COPY . .
RUN apt-get update && bash deploy/install-deps.sh && apt-get install -y --no-install-recommends tzdata
RUN cmake --preset release && cmake --build --preset release --target tributary-coordinator tributary
RUN mkdir /programs && cp build/release/bin/tributary-coordinator build/release/bin/tributary /programs/

FROM ${BASE} AS prebuilt
WORKDIR /source
RUN apt-get update && apt-get install -y --no-install-recommends binutils ca-certificates libcpp-httplib0.11 libgrpc++1.51 \
    libprometheus-cpp-core1.0 libsqlite3-0 libyaml-cpp0.7 python3 tzdata
COPY deploy/package deploy/package
COPY build/release/bin/tributary-coordinator build/release/bin/tributary /programs/

FROM ${PROGRAMS} AS root
RUN python3 deploy/package/image_root.py /image /programs/tributary-coordinator /programs/tributary
# Writable by whichever user the container is given, who is of group 0.
RUN install -d -m 0770 -o 10001 -g 0 /image/var/lib/tributary

FROM scratch
COPY --from=root /image /
# A number, because Kubernetes cannot tell that a name is not root's. Any other will do.
USER 10001:0
# Workers and operators; health; metrics.
EXPOSE 8443 8081 9464
ENTRYPOINT ["/usr/bin/tributary-coordinator"]
CMD ["--config", "/etc/tributary/coordinator.yaml"]
