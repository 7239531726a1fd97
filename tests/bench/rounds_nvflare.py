"""NVFlare's simulator, as rounds_peers.py measures it.

    rounds_nvflare.py FOLDER PARAMETERS SITES ROUNDS

Without arguments: the clients' script, which the simulator runs. Runs where nvflare is installed.
"""

import pathlib
import sys

import numpy


def train():
    import nvflare.client as flare  # pylint: disable=import-outside-toplevel  (only the clients need it)

    flare.init()
    while flare.is_running():
        model = flare.receive()
        if model is None:
            break
        changed = {name: value * numpy.float32(1.0001) for name, value in model.params.items()}
        flare.send(flare.FLModel(params=changed, params_type=model.params_type, meta={"NUM_STEPS_CURRENT_ROUND": 1}))


def simulate(folder, parameters, sites, rounds):
    # pylint: disable=import-outside-toplevel
    from nvflare.app_common.np.np_model_persistor import NPModelPersistor
    from nvflare.app_common.workflows.fedavg import FedAvg
    from nvflare.job_config.api import FedJob
    from nvflare.job_config.script_runner import FrameworkType, ScriptRunner

    model = folder / "model.npy"
    numpy.save(model, numpy.zeros(parameters, dtype=numpy.float32))
    job = FedJob(name="rounds", min_clients=sites)
    persistor = job.to_server(NPModelPersistor(source_npy_file_full_name=str(model)), id="persistor")
    job.to_server(FedAvg(num_clients=sites, num_rounds=rounds, persistor_id=persistor))
    job.to_clients(ScriptRunner(script=__file__, framework=FrameworkType.NUMPY))
    job.simulator_run(str(folder / "run"), n_clients=sites)


if __name__ == "__main__":
    if len(sys.argv) == 5:
        simulate(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:]))
    else:
        train()
