"""Feeds the curves of a run to TensorBoard while it goes on.

    tributary run history RUN --follow --format json | python3 history_to_tensorboard.py LOG_DIR

Needs the Python packages torch and tensorboard; `tensorboard --logdir LOG_DIR` shows the curves, over rounds and over the bytes that a
site has moved. Other trackers are fed alike: each line on standard input is a round (docs/reference/json_output.md).
"""

import json
import sys

from torch.utils.tensorboard import SummaryWriter


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    moved = 0
    with SummaryWriter(sys.argv[1]) as writer:
        for line in sys.stdin:
            record = json.loads(line)
            moved += (record.get("bytes_up", 0) + record.get("bytes_down", 0)) // max(1, record.get("members", 1))
            for name in ("train_loss", "val_loss", "learning_rate", "duration", "bytes_up", "bytes_down"):
                if name in record:
                    writer.add_scalar(name, record[name], record["round"])
            if "val_loss" in record:
                writer.add_scalar("val_loss_over_bytes", record["val_loss"], moved)
            writer.flush()


if __name__ == "__main__":
    main()
