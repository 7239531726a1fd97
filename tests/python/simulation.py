"""tributary.simulate: a run and its sites in this process."""

import importlib.util
import os
import pathlib
import random
import signal
import sys
import tempfile
import unittest
import unittest.mock

try:
    import numpy
except ImportError:
    print("numpy is not installed")
    sys.exit(77)

import tributary

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIZE = 8
ROUNDS = 12


def run_of(mode="distro", **changed):
    return {"name": "quadratic", "rounds": ROUNDS, "optimizer": {"mode": mode, "learning_rate": {"peak": 0.05}},
            "model": {"initial_weights": "start.safetensors", "custom": {"tensors": [{"name": "w", "shape": [SIZE]}]}},
            "data": {"kind": "custom"}, "evaluation": {"every": 5}, **changed}


def distance(given, target):
    return float(((given["w"] - target)**2).mean())


def site(target=1.0, at_round=None, size=SIZE, validate=distance):
    """A program that pulls w towards `target`, with noise; `at_round(round)` is called first."""
    def program(config):
        model = {"w": numpy.zeros(size, numpy.float32)}
        with tributary.join(config, model, samples=10, validate=lambda given: validate(given, target)) as federation:
            for round in federation:
                if at_round is not None and at_round(round):
                    continue
                noise = numpy.float32(random.gauss(0, 0.1) + numpy.random.normal(0, 0.1))
                gradient = model["w"] - target + noise
                if round.sends == "weights":
                    round.submit(1.0, weights={"w": model["w"] - 0.1 * gradient})
                else:
                    round.submit(1.0, gradients={"w": gradient})
    return program


class Clock:
    """In place of the module `time`."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


class Simulation(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        tributary.describe({"w": numpy.zeros(SIZE, numpy.float32)}, self.folder / "start.safetensors")
        random.seed(1)
        numpy.random.seed(1)

    def simulate(self, sites, run=None):
        return tributary.simulate(run or run_of(), sites, weights_dir=self.folder)

    def test_a_run_has_the_metrics_that_its_sites_report_and_it_asks_for_and_ends_by_them(self):
        def judged(given, target):
            return distance(given, target), {"rmse": distance(given, target)**0.5, "accuracy": 0.5, "f1": float("nan")}

        run = run_of(evaluation={"every": 2, "metrics": ["accuracy", "f1"]}, stop_when={"metric": "accuracy", "patience": 1})
        result = self.simulate({"alpha": site(validate=judged), "beta": site(2.0, validate=judged)}, run)
        self.assertEqual(result.history[-1]["round"], 3, "state 2 is no better than state 0")
        self.assertEqual(result.history[2]["metrics"], {"accuracy": 0.5})

    def test_what_is_no_metric_of_a_run_is_refused(self):
        with self.assertRaisesRegex(tributary.errors.UsageError, "accuracy, auroc, f1"):
            self.simulate({"alpha": site(validate=lambda *_: (1.0, {"precision": 1.0}))})

    def test_a_run_has_a_history_and_a_model_that_can_be_loaded(self):
        result = self.simulate({"alpha": site(), "beta": site(2.0)})
        self.assertEqual([row["round"] for row in result.history], list(range(ROUNDS + 1)))
        self.assertLess(result.history[10]["val_loss"], result.history[5]["val_loss"])
        self.assertEqual(result.history[-1]["included"], 2)
        self.assertGreater(result.bytes_up, 0)
        result.export(self.folder / "end.safetensors")
        model = {"w": numpy.zeros(SIZE, numpy.float32)}
        tributary.load(model, self.folder / "end.safetensors")
        numpy.testing.assert_array_equal(model["w"], result.weights["w"])

    def test_what_a_program_draws_does_not_depend_on_the_other_sites(self):
        for mode in ("distro", "fedavg"):
            with self.subTest(mode):
                once = self.simulate([("alpha", site(1.0)), ("beta", site(2.0))], run_of(mode))
                numpy.random.seed(1)
                random.seed(1)
                again = self.simulate([("beta", site(2.0)), ("alpha", site(1.0))], run_of(mode))
                self.assertEqual(once.state_hash, again.state_hash)

    def test_what_a_program_changed_in_its_own_number_of_steps_is_scaled_to_those_of_the_round(self):
        run = self.folder / "run.yaml"
        run.write_text("name: counted\nrounds: 3\nmodel:\n  initial_weights: start.safetensors\n"
                       "  custom: {tensors: [{name: w, shape: [8]}]}\ndata: {kind: custom}\n"
                       "optimizer: {mode: fedavg, local_steps: auto, local_time: 10s, norm_bound: 0, learning_rate: {peak: 0.05}}\n",
                       encoding="utf-8")
        told = []

        def program(config):
            with tributary.join(config, {"w": numpy.zeros(SIZE, numpy.float32)}, samples=10) as federation:
                for round in federation:
                    told.append(round.local_steps)
                    self.assertEqual(round.local_time, 10)
                    after = {"w": round.weights["w"] + 1}
                    for steps in (None, 1):
                        with self.assertRaises(tributary.errors.UsageError):
                            round.submit(1.0, weights=after, steps=steps)
                    if round.number < 3:
                        round.submit(1.0, weights=after, steps=10)
                    else:
                        for step in round.steps():
                            if step == 3:
                                break  # it was taken
                        round.submit(1.0, weights=after)

        with unittest.mock.patch("tributary.federation.time", Clock()):
            result = self.simulate({"alpha": program}, run)
        self.assertEqual(told, [2, 10, 10])
        numpy.testing.assert_allclose(result.weights["w"], numpy.full(SIZE, 2 / 10 + 1 + 10 / 4), rtol=1e-4)

    def test_the_time_for_local_steps_begins_with_the_first_of_them(self):
        run = self.folder / "run.yaml"
        run.write_text("name: timed\nrounds: 1\nmodel:\n  initial_weights: start.safetensors\n"
                       "  custom: {tensors: [{name: w, shape: [8]}]}\ndata: {kind: custom}\n"
                       "optimizer: {mode: fedavg, local_steps: auto, local_time: 10s, learning_rate: {peak: 0.05}}\n", encoding="utf-8")
        clock = Clock()
        taken = []

        def program(config):
            with tributary.join(config, {"w": numpy.zeros(SIZE, numpy.float32)}, samples=10) as federation:
                for round in federation:
                    clock.now += 100
                    for step in round.steps():
                        taken.append(step)
                        clock.now += 3
                    round.submit(1.0, weights=round.weights)

        with unittest.mock.patch("tributary.federation.time", clock):
            self.simulate({"alpha": program}, run)
        self.assertEqual(taken, [0, 1, 2])

    def test_what_this_program_draws_goes_on_as_before(self):
        state = numpy.random.get_state()[1].tolist(), random.getstate()
        self.simulate({"alpha": site()})
        self.assertEqual(state, (numpy.random.get_state()[1].tolist(), random.getstate()))

    def test_a_mistake_in_a_program_is_raised(self):
        with self.assertRaises(ZeroDivisionError):
            self.simulate({"alpha": site(at_round=lambda round: round.number == 3 and 1 // 0), "beta": site()})

    def test_a_site_that_leaves_lets_the_others_go_on(self):
        def leaving(config):
            with tributary.join(config, {"w": numpy.zeros(SIZE, numpy.float32)}, samples=10) as federation:
                next(federation)
        self.assertEqual(self.simulate({"alpha": leaving, "beta": site()}).history[-1]["included"], 1)

    def test_a_program_that_ends_with_a_round_taken_lets_the_others_go_on(self):
        def breaking(config):
            for _ in tributary.join(config, {"w": numpy.zeros(SIZE, numpy.float32)}, samples=10):
                break

        def returning(config):
            next(tributary.join(config, {"w": numpy.zeros(SIZE, numpy.float32)}, samples=10))

        for program in (breaking, returning):
            with self.subTest(program.__name__):
                self.assertEqual(self.simulate({"alpha": program, "beta": site()}).history[-1]["included"], 1)

    def test_a_mistake_with_a_round_taken_is_raised(self):
        def mistaken(config):
            for _ in tributary.join(config, {"w": numpy.zeros(SIZE, numpy.float32)}, samples=10):
                raise ZeroDivisionError
        with self.assertRaises(ZeroDivisionError):
            self.simulate({"alpha": mistaken, "beta": site()})

    def test_a_run_without_updates_fails_as_it_does_over_the_network(self):
        with self.assertRaisesRegex(tributary.errors.RunFailedError, "brought no valid update"):
            self.simulate({"alpha": site(at_round=lambda round: round.skip("no") or True)})

    def test_what_cannot_be_is_refused_with_what_to_do(self):
        for wanted, sites, run in (
                ("ended without tributary.join", {"alpha": lambda config: None}, None),
                ("no name of a site", {"Alpha beta": site()}, None),
                ("has the shape", {"alpha": site(size=7)}, None),
                ("at least one site", {}, None),
                ("has joined this simulation already", {"alpha": lambda config: (site()(config), site()(config))}, None),
                ("two sites have one name", [("alpha", site()), ("alpha", site())], None),
                ("unknown value 'nomode'", {"alpha": site()}, run_of("nomode")),
                ("min_workers", {"alpha": site()}, run_of(participation={"min_workers": 3}))):
            with self.subTest(wanted), self.assertRaisesRegex(tributary.errors.UsageError, wanted):
                self.simulate(sites, run)

    def test_ctrl_c_ends_it(self):
        def interrupt(round):
            if round.number == 3:
                os.kill(os.getpid(), signal.SIGINT)
        with self.assertRaises(KeyboardInterrupt):
            self.simulate({"alpha": site(at_round=interrupt), "beta": site()}, run_of(rounds=100000))

    def test_ctrl_c_ends_it_though_a_program_has_taken_a_round(self):
        def interrupt(config):
            for _ in tributary.join(config, {"w": numpy.zeros(SIZE, numpy.float32)}, samples=10):
                os.kill(os.getpid(), signal.SIGINT)
                return
        with self.assertRaises(KeyboardInterrupt):
            self.simulate({"alpha": interrupt, "beta": site()}, run_of(rounds=100000))

    def test_the_example_works(self):
        place = importlib.util.spec_from_file_location("simulate_sites", ROOT / "deploy" / "examples" / "simulate_sites.py")
        example = importlib.util.module_from_spec(place)
        place.loader.exec_module(example)
        tributary.describe(example.new_model(), self.folder / "two-sites.safetensors")
        result = self.simulate({"berlin": lambda config: example.site(config, 1), "lyon": lambda config: example.site(config, 2)},
                               example.RUN)
        self.assertLess(result.history[60]["val_loss"], result.history[0]["val_loss"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
