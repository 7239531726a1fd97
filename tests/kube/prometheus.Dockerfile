# Debian's Prometheus, for the test's cluster. The context is the folder that has the program.
ARG BASE
FROM ${BASE}
COPY prometheus /usr/bin/prometheus
USER 10001:0
ENTRYPOINT ["/usr/bin/prometheus"]
