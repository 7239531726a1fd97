"""The package and the process around it: forks, the log, and what memory arrays show."""

import importlib.util
import json
import os
import pathlib
import signal
import sys
import tempfile
import unittest

try:
    import numpy
except ImportError:
    print("numpy is not installed")
    sys.exit(77)

import tributary
from tributary import _native

SIZE = 8
# Of a child that hangs: it ends by a signal then.
PATIENCE = 60
TENSORS = [("w", [SIZE], False)]
RUN = {"name": "small", "rounds": 2, "optimizer": {"mode": "distro", "learning_rate": {"peak": 0.05}},
       "model": {"initial_weights": "start.safetensors", "custom": {"tensors": [{"name": "w", "shape": [SIZE]}]}},
       "data": {"kind": "custom"}}


def zeros():
    return {"w": numpy.zeros(SIZE, numpy.float32)}


def site(config):
    for round in tributary.join(config, zeros(), samples=1):
        round.submit(1.0, gradients={"w": numpy.ones(SIZE, numpy.float32)})


class Process(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        tributary.describe(zeros(), self.folder / "start.safetensors")

    def join(self):
        """A federation whose coordinator does not answer."""
        config = self.folder / "worker.yaml"
        config.write_text(f"federation: small\nsite: alpha\ncoordinator: 127.0.0.1:1\ndata: {self.folder}\n"
                          f"state_dir: {self.folder / 'state'}\nconsent: {{runs: [small], models: [custom]}}\n", encoding="utf-8")
        return tributary.join(config, zeros(), samples=1, insecure=True)

    def in_child(self, work):
        """How a child that does `work` ends."""
        child = os.fork()
        if child == 0:
            signal.alarm(PATIENCE)
            try:
                work()
                os._exit(0)
            finally:
                os._exit(1)
        return os.waitpid(child, 0)[1]

    def test_a_child_may_leave_what_its_parent_has_joined(self):
        federation = self.join()
        self.addCleanup(federation.close)
        self.assertEqual(self.in_child(federation.close), 0)

    def test_a_child_may_drop_a_simulation_that_was_not_begun(self):
        kept = [_native.SimulatedRun(json.dumps(RUN), "run", str(self.folder))]
        self.assertEqual(self.in_child(kept.clear), 0)

    def test_a_worker_is_heard_again_after_a_simulation(self):
        with tempfile.TemporaryFile() as heard:
            before = os.dup(2)
            os.dup2(heard.fileno(), 2)
            try:
                federation = self.join()
                tributary.simulate(RUN, {"alpha": site}, weights_dir=self.folder)
                federation.close()
            finally:
                os.dup2(before, 2)
                os.close(before)
            heard.seek(0)
            self.assertIn("the program leaves the federation", heard.read().decode())

    def test_a_view_of_the_weights_shows_those_that_were_restored(self):
        replica = _native.Replica('{"mode": "distro", "learning_rate": {"peak": 0.1}}', TENSORS, numpy.zeros(SIZE, numpy.float32), 1)
        view = replica.theta()
        saved = replica.save()
        replica.put(0, numpy.ones(SIZE, numpy.float32))
        replica.step(0.1, [replica.encode(0.1)], 0)
        self.assertTrue(view.any())
        replica.restore(*saved)
        self.assertFalse(view.any())
        replica.put(0, numpy.ones(SIZE, numpy.float32))
        replica.step(0.1, [replica.encode(0.1)], 0)
        numpy.testing.assert_array_equal(view, replica.theta())

    def test_a_replica_goes_on_after_an_update_that_cannot_be(self):
        replica = _native.Replica('{"mode": "distro", "learning_rate": {"peak": 0.1}}', TENSORS, numpy.zeros(SIZE, numpy.float32), 1)
        for broken in (True, False):
            replica.put(0, numpy.ones(SIZE, numpy.float32))
            update = replica.encode(0.1)
            if broken:
                with self.assertRaises(tributary.errors.Error):
                    replica.step(0.1, [update, b"no update"], 0)
            else:
                replica.step(0.1, [update, update], 0)
        self.assertEqual(replica.round, 1)

    @unittest.skipUnless(importlib.util.find_spec("pandas"), "pandas is not installed")
    def test_a_run_without_rounds_is_an_empty_frame(self):
        class Waiting(tributary.Run):
            def __init__(self):
                pass

            def history(self):
                return []

        frame = Waiting().to_pandas()
        self.assertEqual((len(frame), frame.index.name), (0, "round"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
