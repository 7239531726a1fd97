"""Flower's server or one of its clients, as rounds_peers.py measures them.

    rounds_flower.py client ADDRESS | server ADDRESS PARAMETERS SITES ROUNDS

Runs where flwr is installed; the server prints its figures as JSON.
"""

import json
import resource
import sys
import time

import flwr
import numpy

_MESSAGE_BYTES = 1 << 30


class Client(flwr.client.NumPyClient):
    def fit(self, parameters, config):
        return [parameters[0] * numpy.float32(1.0001)], 1, {}


class Timed(flwr.server.strategy.FedAvg):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.times = []

    def configure_fit(self, server_round, parameters, client_manager):
        configured = super().configure_fit(server_round, parameters, client_manager)
        if not self.times:
            self.times.append(time.monotonic())
        return configured

    def aggregate_fit(self, server_round, results, failures):
        aggregated = super().aggregate_fit(server_round, results, failures)
        self.times.append(time.monotonic())
        return aggregated


def serve(address, parameters, sites, rounds):
    model = flwr.common.ndarrays_to_parameters([numpy.zeros(parameters, dtype=numpy.float32)])
    strategy = Timed(fraction_fit=1.0, fraction_evaluate=0.0, min_fit_clients=sites, min_available_clients=sites, initial_parameters=model)
    flwr.server.start_server(server_address=address, config=flwr.server.ServerConfig(num_rounds=rounds), strategy=strategy,
                             grpc_max_message_length=_MESSAGE_BYTES)
    seconds = (strategy.times[-1] - strategy.times[0]) / rounds
    print(json.dumps({"version": flwr.__version__, "seconds_a_round": round(seconds, 3),
                      "server_peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))


if __name__ == "__main__":
    if sys.argv[1] == "client":
        flwr.client.start_client(server_address=sys.argv[2], client=Client().to_client(), grpc_max_message_length=_MESSAGE_BYTES,
                                 insecure=True, max_wait_time=120)
    else:
        serve(sys.argv[2], *map(int, sys.argv[3:6]))
