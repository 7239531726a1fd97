"""The package beside PyTorch: loops whose steps are given to a run, and the update algebra as an optimizer."""

import importlib.util
import multiprocessing
import pathlib
import subprocess
import sys
import tempfile
import unittest
import warnings

if importlib.util.find_spec("torch") is None or importlib.util.find_spec("numpy") is None:
    print("PyTorch is not installed")
    sys.exit(77)

import torch

import tributary
import tributary.optim

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "examples"
STEPS = 20
LEARNING_RATE = 0.01


def new_model(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))


def batches(seed):
    generator = torch.Generator().manual_seed(seed)
    while True:
        x = torch.randn(32, 16, generator=generator)
        yield x, 2 * x[:, :1] + x[:, 1:2]


def loss_of(model, x, y):
    return ((model(x) - y)**2).mean()


def process_of_cluster(rank, size, meeting, work, queue):
    """One process of a cluster; tells what `work(rank)` returns."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    queue.put((rank, work(rank)))
    torch.distributed.destroy_process_group()


def train_in_modes(rank):
    return {mode: train_in(mode, rank) for mode in ("distro", "demo")}


def train_in(mode, rank):
    """Its state hash, that to which it comes back from half way, and its losses."""
    model = new_model(seed=rank)
    optimizer = tributary.optim.DistrO(model.named_parameters(), lr=LEARNING_RATE, mode=mode, threads=1)
    losses, saved = [], None
    for step, (x, y) in zip(range(STEPS), batches(100 + rank)):
        if step == STEPS // 2:
            saved = optimizer.state_dict()
        optimizer.zero_grad()
        loss = loss_of(model, x, y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    optimizer.check_replicas()
    ended = optimizer.state_hash()

    back = tributary.optim.DistrO(model.named_parameters(), lr=LEARNING_RATE, mode=mode, threads=1)
    back.load_state_dict(saved)
    for step, (x, y) in zip(range(STEPS), batches(100 + rank)):
        if step >= STEPS // 2:
            back.zero_grad()
            loss_of(model, x, y).backward()
            back.step()
    return ended, back.state_hash(), losses


def raised_by(work, *arguments):
    try:
        work(*arguments)
    except Exception as error:
        return type(error).__name__
    return None


def misuse_step(rank):
    """What each step raises, and what there is then: (error, steps, residual's norm, hash)."""
    model = new_model()
    optimizer = tributary.optim.DistrO(model.named_parameters(), lr=LEARNING_RATE, threads=1)
    seen = {}

    def step(name, lr=LEARNING_RATE, gradient=0.1, frozen=False):
        optimizer.param_groups[0]["lr"] = lr
        model[0].bias.requires_grad = not frozen
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        seen[name] = raised_by(optimizer.step), optimizer.steps, optimizer._replica.residual_norm(), optimizer.state_hash()

    step("first")
    step("rates that differ", lr=LEARNING_RATE * (1 + rank))
    step("a rate that cannot be in one", lr=LEARNING_RATE if rank == 0 else float("nan"))
    step("a rate that is none in one", lr=LEARNING_RATE if rank == 0 else "fast")
    step("frozen in one", frozen=rank == 1)
    step("goes on")
    step("too large in one", gradient=0.1 if rank == 0 else 1e25)
    step("too large in all", gradient=1e25)
    return seen


def misuse_construction(rank):
    """The errors of what cannot be made together, and the hash of what can be afterwards."""
    def make(*, width=1, **options):
        return tributary.optim.DistrO(torch.nn.Linear(4, width).named_parameters(), lr=LEARNING_RATE, threads=1, **options)

    return [raised_by(lambda: make(k=8 + rank)), raised_by(lambda: make(k=8 if rank == 0 else 5000)),
            raised_by(lambda: make(width=1 + rank)), make().state_hash()]


def train_short_types(rank):
    """Whether the weights are the replica's, rounded, after a step; and its hash."""
    model = new_model(seed=rank).to(torch.bfloat16)
    optimizer = tributary.optim.DistrO(model.named_parameters(), lr=LEARNING_RATE, threads=1)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.1 + rank)
    optimizer.step()
    theta = torch.from_numpy(optimizer._replica.theta().copy()).to(torch.bfloat16)
    return torch.equal(theta, torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])), optimizer.state_hash()


def load_first_state(rank):
    """Of a process that loads what process 0 has saved: warnings, whether it has a residual, and the hash after a step."""
    model = new_model()
    optimizer = tributary.optim.DistrO(model.named_parameters(), lr=LEARNING_RATE, threads=1)

    def step():
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 0.1 + rank)
        optimizer.step()

    step()
    saved = [optimizer.state_dict()]
    torch.distributed.broadcast_object_list(saved, 0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer.load_state_dict(saved[0])
    residual = optimizer._replica.residual_norm() > 0
    step()
    return [str(warning.message) for warning in caught if "residual" in str(warning.message)], residual, optimizer.state_hash()


class WithTorch(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def simulate(self, mode, program, **optimizer):
        """Two sites that train the model with programs of `program(config, seed of the data)`."""
        model = new_model()
        tributary.describe(model, self.folder / "start.safetensors")
        run = {"name": "cluster", "rounds": STEPS, "data": {"kind": "custom"},
               "optimizer": {"mode": mode, "learning_rate": {"peak": LEARNING_RATE, "kind": "constant"}, **optimizer},
               "model": {"initial_weights": "start.safetensors",
                         "custom": {"tensors": [{"name": name, "shape": list(values.shape)} for name, values in model.named_parameters()]}}}
        return tributary.simulate(run, {f"site-{rank}": lambda config, rank=rank: program(config, 100 + rank) for rank in range(2)},
                                  weights_dir=self.folder)

    def cluster(self, work):
        """What `work(rank)` returns in each of two processes that are one group."""
        context = multiprocessing.get_context("spawn")
        queue = context.Queue()
        meeting = self.folder / "meeting"
        processes = [context.Process(target=process_of_cluster, args=(rank, 2, meeting, work, queue), daemon=True) for rank in range(2)]
        for process in processes:
            process.start()
        told = dict(queue.get(timeout=120) for _ in processes)
        for process in processes:
            process.join()
        return [told[rank] for rank in sorted(told)]

    def test_processes_of_a_cluster_end_with_the_hash_of_the_same_run(self):
        def program(config, seed):
            torch.set_num_threads(1)
            model = new_model()
            for round, (x, y) in zip(tributary.join(config, model, samples=1), batches(seed)):
                loss = loss_of(model, x, y)
                loss.backward()
                round.submit(loss.item())

        told = self.cluster(train_in_modes)
        for mode in ("distro", "demo"):
            with self.subTest(mode):
                expected = self.simulate(mode, program, norm_bound=0).state_hash
                for results in told:
                    ended, came_back, losses = results[mode]
                    self.assertEqual((ended, came_back), (expected, expected))
                    self.assertLess(losses[-1], losses[0])

    def test_processes_of_a_cluster_refuse_a_step_together_and_go_on(self):
        told = self.cluster(misuse_step)
        for refused, errors in (("rates that differ", ["UsageError"] * 2), ("a rate that cannot be in one", ["UsageError"] * 2),
                                ("a rate that is none in one", ["UsageError", "ValueError"]), ("frozen in one", ["UsageError"] * 2)):
            with self.subTest(refused):
                self.assertEqual([seen[refused][0] for seen in told], errors)
                for seen in told:
                    self.assertEqual(seen[refused][1:], seen["first"][1:], "nothing has changed")
        for taken, steps in (("goes on", 2), ("too large in one", 3), ("too large in all", 4)):
            with self.subTest(taken):
                self.assertEqual([seen[taken][:2] for seen in told], [(None, steps)] * 2)
                self.assertEqual(told[0][taken][3], told[1][taken][3])

    def test_processes_of_a_cluster_with_other_options_or_shapes_are_refused_in_all(self):
        first, second = self.cluster(misuse_construction)
        self.assertEqual(first[:3], ["UsageError"] * 3)
        self.assertEqual(first, second)

    def test_processes_of_a_cluster_share_weights_of_a_short_type(self):
        first, second = self.cluster(train_short_types)
        self.assertTrue(first[0])
        self.assertEqual(first, second)

    def test_one_processs_state_loaded_in_all_keeps_its_residual_in_that_one(self):
        (warned, residual, ended), (other_warned, other_residual, other_ended) = self.cluster(load_first_state)
        self.assertEqual((warned, residual, other_residual), ([], True, False))
        self.assertRegex(other_warned[0], "saved by process 0 of 2, and this is process 1 of 2")
        self.assertEqual(ended, other_ended)

    def test_parameters_frozen_or_added_afterwards_are_refused(self):
        model = new_model()
        model[0].bias.requires_grad = False
        optimizer = tributary.optim.DistrO(model.named_parameters(), lr=LEARNING_RATE)
        for layer in (0, 2):
            bias = model[layer].bias
            bias.requires_grad = not bias.requires_grad
            with self.assertRaisesRegex(tributary.errors.UsageError, f"'{layer}.bias' was "):
                optimizer.step()
            bias.requires_grad = not bias.requires_grad
        with self.assertRaisesRegex(tributary.errors.UsageError, "cannot be added"):
            optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(2))]})
        optimizer.step()

    def test_a_site_draws_nothing_that_follows_from_another_that_imported_torch(self):
        tributary.describe(torch.nn.Linear(2, 1), self.folder / "start.safetensors")
        run = {"name": "late", "rounds": 1, "data": {"kind": "custom"}, "optimizer": {"mode": "distro", "learning_rate": {"peak": 0.1}},
               "model": {"initial_weights": "start.safetensors",
                         "custom": {"tensors": [{"name": "weight", "shape": [1, 2]}, {"name": "bias", "shape": [1]}]}}}
        program = f"""
import sys, tributary
def site(config, seed):
    import torch
    if seed is not None:
        torch.manual_seed(seed)
    print(config.name, torch.rand(1).item())
    for round in tributary.join(config, torch.nn.Linear(2, 1), samples=1):
        round.skip("no")
assert "torch" not in sys.modules
try:
    tributary.simulate({run!r}, [("alpha", lambda config: site(config, int(sys.argv[1]))), ("beta", lambda config: site(config, None))],
                       weights_dir={str(self.folder)!r})
except tributary.errors.RunFailedError:
    pass
"""
        drawn = [subprocess.run([sys.executable, "-c", program, seed], capture_output=True, text=True, check=True).stdout.splitlines()
                 for seed in ("7", "8")]
        self.assertNotEqual(drawn[0][0], drawn[1][0])
        self.assertEqual(drawn[0][1], drawn[1][1])

    def test_one_process_needs_no_group(self):
        for mode in ("distro", "signsgd", "allreduce"):
            with self.subTest(mode):
                model = new_model()
                optimizer = tributary.optim.DistrO(model.parameters(), lr=LEARNING_RATE, mode=mode)
                scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=50, gamma=0.5)
                losses = []
                for _, (x, y) in zip(range(60), batches(1)):
                    optimizer.zero_grad()
                    loss = loss_of(model, x, y)
                    loss.backward()
                    optimizer.step()
                    scheduler.step()
                    losses.append(loss.item())
                self.assertLess(losses[-1], losses[0] / 2)

    def test_a_gradient_that_is_not_finite_changes_nothing(self):
        model = new_model()
        optimizer = tributary.optim.DistrO(model.parameters(), lr=LEARNING_RATE)
        before = [parameter.clone() for parameter in model.parameters()]
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, float("nan"))
        optimizer.step()
        self.assertEqual(optimizer.steps, 1)
        for parameter, old in zip(model.parameters(), before):
            self.assertTrue(torch.equal(parameter, old))

    def test_options_that_cannot_be_are_refused(self):
        for wanted, options in (("sends gradients", {"mode": "fedavg"}), ("more than 4096", {"k": 5000}),
                                ("has no k", {"mode": "signsgd", "k": 8})):
            with self.subTest(wanted), self.assertRaisesRegex(tributary.errors.UsageError, wanted):
                tributary.optim.DistrO(new_model().parameters(), **options)

    def test_a_loop_of_a_programs_own_takes_the_steps_of_a_run(self):
        for mode, local_steps in (("distro", 1), ("fedavg", 3)):
            with self.subTest(mode):
                losses = []

                def validate(model):
                    model.eval()
                    return loss_of(model, *next(batches(1))).item()

                def program(config, seed):
                    model = new_model()
                    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
                    with tributary.join(config, model, samples=1, validate=validate) as federation:
                        optimizer = federation.optimizer(optimizer)
                        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=1.0)
                        for x, y in batches(seed):
                            self.assertTrue(model.training)
                            optimizer.zero_grad()
                            loss = loss_of(model, x, y)
                            loss.backward()
                            losses.append(loss.item())
                            optimizer.step(lambda: loss)
                            scheduler.step()

                result = self.simulate(mode, program, **({"local_steps": local_steps} if local_steps > 1 else {}))
                self.assertEqual(len(losses), 2 * STEPS * local_steps)
                self.assertEqual(result.history[-1]["included"], 2)
                self.assertLess(losses[-1], losses[0])

    def test_the_quickstart_works(self):
        place = importlib.util.spec_from_file_location("quickstart", EXAMPLES / "quickstart_pytorch.py")
        quickstart = importlib.util.module_from_spec(place)
        place.loader.exec_module(quickstart)
        run = self.folder / "run.yaml"
        text = quickstart.RUN.replace("rounds: 12", "rounds: 3").replace("local_steps: 20", "local_steps: 10")
        run.write_text(text + tributary.describe(quickstart.Net(), self.folder / "net.safetensors"), encoding="utf-8")
        history = tributary.simulate(run, {"berlin": lambda config: quickstart.site(config, 1)}).history
        self.assertLess(history[3]["val_loss"], history[0]["val_loss"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
