"""Checks the layers of docs/explanation/architecture.md by reading includes."""

import pathlib
import re
import sys

import tree

# Folder -> folders it may include.
_ALLOWED = {
    "common": {"common"},
    "optim": {"common", "optim"},
    "proto": {"common", "optim", "proto", "tributary"},
    "doctor": {"common", "proto", "tributary", "doctor"},
    "coordinator": {"common", "optim", "proto", "tributary", "doctor", "coordinator"},
    "worker": {"common", "optim", "proto", "tributary", "doctor", "worker"},
    "cli": {"common", "optim", "proto", "tributary", "doctor", "cli"},
    # The whole federation in one process.
    "sim": {"common", "optim", "proto", "tributary", "coordinator", "worker", "cli", "sim"},
    "python": {"common", "optim", "proto", "tributary", "worker", "cli", "sim", "python"},
}
# `tributary journal`, `audit`, `report`, `backup` and `restore` work on the coordinator's own files, through these headers.
_BRIDGES = {("cli/commands_backup.cc", "coordinator/backup.h"),
            *((f"cli/commands_{name}.cc", "coordinator/journal_tool.h") for name in ("audit", "journal", "report"))}
# Rooms of coordinator/ -> rooms below, which it may include beside itself. Files in no folder of their own are the coordinator proper,
# but for its metrics and for the server, which puts the parts together.
_ROOMS = {
    "journal": set(),
    "audit": {"journal"},
    "metrics": set(),
    "run": {"journal", "metrics"},
    "coordinator": {"audit", "journal", "metrics", "run"},
    "guard": {"metrics"},
    "rpc": {"coordinator", "guard", "metrics"},
    "server": {"audit", "journal", "metrics", "run", "coordinator", "guard", "rpc"},
}
_ROOM_OF_FILE = {"metrics": "metrics", "metric_labels": "metrics", "run_series": "metrics", "server": "server", "main": "server"}
_OWN = set(_ALLOWED) | {"tributary", "tests"}
_TORCH = re.compile(r"^(torch|ATen|c10|caffe2)/")
_PROTOBUF = re.compile(r"^google/protobuf/|\.pb\.h$")
_GRPC = re.compile(r"^grpc(pp|\+\+)?/|\.grpc\.pb\.h$")
_TORCH_PLACES = re.compile(r"^(worker/(models|data)/.*|worker/trainer[a-z_]*\.cc|tests/.*)$")
_GRPC_PLACES = re.compile(r"^(coordinator/(rpc/.*|server[a-z_]*\.(cc|h))|worker/(session|enrolment)_client[a-z_]*\.(cc|h)|"
                          r"cli/.*|doctor/reach\.cc|common/(channel|tls|grpc_log|request_id)\.(cc|h)|tests/.*)$")


def room_of(path):
    return path.parts[1] if len(path.parts) > 2 else _ROOM_OF_FILE.get(path.stem, "coordinator")


def check_file(path):
    name, folder = str(path), path.parts[0]
    if folder not in _ALLOWED and folder != "tests":
        yield f"{name}: {folder}/ has no layer; give it one in {pathlib.PurePath(__file__).name}"
    for include, line in tree.includes(path):
        target = include.split("/")[0]
        place = f"{name}:{line}: includes {include}"
        if folder in _ALLOWED and target in _OWN and target not in _ALLOWED[folder] and (name, include) not in _BRIDGES:
            yield f"{place}: {folder}/ may include only {', '.join(sorted(_ALLOWED[folder]))}"
        if folder == target == "coordinator":
            room, below = room_of(path), room_of(pathlib.PurePosixPath(include))
            if below != room and below not in _ROOMS[room]:
                yield f"{place}: {room} may include only {', '.join(sorted(_ROOMS[room])) or 'itself'}"
        if _TORCH.match(include) and not _TORCH_PLACES.match(name):
            yield f"{place}: torch belongs in the trainer, models and data files of worker/"
        if _GRPC.match(include) and not _GRPC_PLACES.match(name):
            yield (f"{place}: gRPC belongs in coordinator/rpc, coordinator/server, worker/session_client, worker/enrolment_client, cli, "
                   "doctor/reach, common/tls, common/channel, common/grpc_log and common/request_id")
        if folder in ("common", "optim") and _PROTOBUF.search(include) and not _GRPC.match(include):
            yield f"{place}: {folder}/ knows no protocol messages"
    if path.suffix == ".cc":
        reached = tree.all_includes(path)
        torch = next((include for include in reached if _TORCH.match(include)), None)
        protobuf = next((include for include in reached if _PROTOBUF.search(include)), None)
        if torch and protobuf:
            yield (f"{name}: one translation unit sees both torch ({torch} in {reached[torch]}) and protobuf "
                   f"({protobuf} in {reached[protobuf]})")


def main():
    problems = [problem for path in tree.with_suffix(".cc", ".h") for problem in check_file(path)]
    return tree.report(problems, "layering")


if __name__ == "__main__":
    sys.exit(main())
