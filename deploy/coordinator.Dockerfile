# The coordinator and the operator's command, on nothing but the libraries that they load.
#
#   docker build -f deploy/coordinator.Dockerfile -t tributary-coordinator .
#
# BASE is a Debian 12 to build on; nothing of it but those libraries is in the image.
ARG BASE=debian:bookworm-slim
FROM ${BASE} AS build
COPY . /source
WORKDIR /source
RUN apt-get update && bash deploy/install-deps.sh && apt-get install -y --no-install-recommends tzdata
RUN cmake --preset release && cmake --build --preset release --target tributary-coordinator tributary
RUN strip -s build/release/bin/tributary-coordinator build/release/bin/tributary && \
    python3 deploy/package/image_root.py /image build/release/bin/tributary-coordinator build/release/bin/tributary && \
    install -d -m 0770 -o 10001 -g 0 /image/var/lib/tributary

FROM scratch
COPY --from=build /image /
# A number, because Kubernetes cannot tell that a name is not root's. Any other user works too.
USER 10001:0
ENTRYPOINT ["/usr/bin/tributary-coordinator"]
CMD ["--config", "/etc/tributary/coordinator.yaml"]
EXPOSE 8443 8081 9464
