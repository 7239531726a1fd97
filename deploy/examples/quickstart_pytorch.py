"""A small image classifier of PyTorch, federated: two sites and their run in this process, or one site of a federation.

    quickstart_pytorch.py                 the simulation
    quickstart_pytorch.py worker.yaml     one site
"""

import pathlib
import sys

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import tributary


class Net(nn.Module):
    """Of images of 3 x 32 x 32."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2))
        self.classes = nn.Sequential(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))

    def forward(self, images):
        return self.classes(self.features(images).flatten(1))


def load_data(site):
    """Noise over a brightness that tells the class, for want of photographs."""
    generator = torch.Generator().manual_seed(site)
    labels = torch.randint(10, (400,), generator=generator)
    images = torch.randn(400, 3, 32, 32, generator=generator) + labels.view(-1, 1, 1, 1) / 2
    return (DataLoader(TensorDataset(images[:320], labels[:320]), batch_size=16, shuffle=True),
            DataLoader(TensorDataset(images[320:], labels[320:]), batch_size=80))


def test(net, loader):
    net.eval()
    with torch.no_grad():
        return sum(cross_entropy(net(images), labels).item() for images, labels in loader) / len(loader)


def site(config, number):
    torch.manual_seed(number)
    net = Net()
    train_loader, test_loader = load_data(number)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    with tributary.join(config, net, samples=len(train_loader.dataset), validate=lambda net: test(net, test_loader)) as federation:
        optimizer = federation.optimizer(optimizer)
        while True:  # until the run is over
            for images, labels in train_loader:
                optimizer.zero_grad()
                loss = cross_entropy(net(images), labels)
                loss.backward()
                optimizer.step(lambda: loss)


RUN = """name: quickstart
rounds: 12
optimizer: {mode: fedavg, local_steps: 20, learning_rate: {peak: 0.01}}
evaluation: {every: 3}
"""

if __name__ == "__main__":
    if len(sys.argv) > 1:
        site(sys.argv[1], 1)
    else:
        torch.manual_seed(0)
        pathlib.Path("run.yaml").write_text(RUN + tributary.describe(Net(), "net.safetensors"), encoding="utf-8")
        result = tributary.simulate("run.yaml", {"berlin": lambda config: site(config, 1), "lyon": lambda config: site(config, 2)})
        print([round["val_loss"] for round in result.history if "val_loss" in round], result.state_hash)
