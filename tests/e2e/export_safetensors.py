"""The exported model, read by the description of the safetensors format and, where it is installed, by the safetensors package."""

import json
import math
import struct
import unittest

import harness

try:
    import safetensors.numpy
except ImportError:
    safetensors = None


def read_safetensors(path):
    """(metadata, {name: (shape, values)}) of a file of F32 tensors, checked against the format's rules."""
    content = path.read_bytes()
    (header_length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8:8 + header_length])
    metadata = header.pop("__metadata__", {})
    data = content[8 + header_length:]
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        assert entry["dtype"] == "F32" and begin == end and stop - begin == 4 * math.prod(entry["shape"]), (name, entry)
        tensors[name] = (entry["shape"], struct.unpack(f"<{(stop - begin) // 4}f", data[begin:stop]))
        end = stop
    assert end == len(data), "bytes that belong to no tensor"
    return metadata, tensors


class ExportSafetensors(harness.FederationTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.layers, cls.width, cls.context = 1, 32, 16

    def trained(self):
        parties = self.make("alpha")
        self.start(parties)
        self.submit(parties, rounds=8)
        parties.wait_for_end(harness.RUN, timeout=60)
        return parties

    def test_every_block_of_the_model_is_there_with_its_shape(self):
        parties = self.trained()
        path = parties.directory / "model.safetensors"
        parties.operator("export", harness.RUN, "--output", path)
        _, tensors = read_safetensors(path)
        self.assertEqual(tensors["wte"][0], [256, self.width])
        self.assertEqual(tensors["wpe"][0], [self.context, self.width])
        self.assertEqual(tensors["h.0.attn.qkv.weight"][0], [3 * self.width, self.width])
        self.assertEqual(len(tensors), 4 + 12 * self.layers)
        status = parties.status(harness.RUN)
        self.assertEqual(sum(len(values) for _, values in tensors.values()), int(status["parameters"]))
        for name, (_, values) in tensors.items():
            self.assertTrue(all(math.isfinite(value) for value in values), name)

    def test_any_round_can_be_exported(self):
        parties = self.trained()
        exported = {}
        for number in (0, 3, 8):
            path = parties.directory / f"round-{number}.safetensors"
            parties.operator("export", harness.RUN, "--round", number, "--output", path)
            exported[number] = read_safetensors(path)[1]["wte"][1]
        self.assertNotEqual(exported[0], exported[3])
        self.assertNotEqual(exported[3], exported[8])
        newest = parties.directory / "newest.safetensors"
        parties.operator("export", harness.RUN, "--output", newest)
        self.assertEqual(newest.read_bytes(), (parties.directory / "round-8.safetensors").read_bytes())

    @unittest.skipIf(safetensors is None, "the Python package safetensors is not installed")
    def test_the_safetensors_package_reads_it(self):
        parties = self.trained()
        path = parties.directory / "model.safetensors"
        parties.operator("export", harness.RUN, "--output", path)
        tensors = safetensors.numpy.load_file(path)
        ours = read_safetensors(path)[1]
        self.assertEqual(set(tensors), set(ours))
        for name, array in tensors.items():
            self.assertEqual(array.ravel().tolist(), list(ours[name][1]))


if __name__ == "__main__":
    harness.main()
