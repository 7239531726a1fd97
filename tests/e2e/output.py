"""What programs print arrives, or they say so: full disks, pipes that nobody reads, links, devices; and lines that fit the terminal."""

import fcntl
import os
import pathlib
import pty
import struct
import subprocess
import termios

import harness

PROGRAMS = ("tributary", "tributary-coordinator", "tributary-worker", "tributary-sim")


def run(*command, stdout, **options):
    return subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, text=True,
                          timeout=60, check=False, **options)


class Output(harness.FederationTest):
    def test_a_full_disk_is_an_error(self):
        for program in PROGRAMS:
            with self.subTest(program=program), open("/dev/full", "w", encoding="utf-8") as full:
                result = run(harness.BINARIES / program, "--version", stdout=full)
                self.assertEqual(result.returncode, harness.EXIT_STORAGE, result.stderr)
                self.assertIn(f"{program}: cannot write standard output: No space left on device; free some space", result.stderr)

    def test_a_pipe_that_nobody_reads_ends_without_a_word(self):
        for program in PROGRAMS:
            with self.subTest(program=program):
                reader, writer = os.pipe()
                os.close(reader)
                result = run(harness.BINARIES / program, "--help", stdout=writer)
                os.close(writer)
                self.assertEqual((result.returncode, result.stderr), (harness.EXIT_READER_GONE, ""))

    def waiting(self):
        """A coordinator with a run that waits for its workers."""
        parties = self.make("alpha")
        self.start(parties, workers=False)
        self.submit(parties, rounds=5)
        return parties

    def watch(self, parties, stdout):
        command = [str(harness.BINARIES / "tributary"), "--config", str(parties.directory / "operator.yaml"), "run", "watch"]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, text=True)

    def test_watching_a_run_ends_with_its_reader(self):
        reader, writer = os.pipe()
        watcher = self.watch(self.waiting(), writer)
        os.close(writer)
        with open(reader, encoding="utf-8") as lines:
            lines.readline()
        _, errors = watcher.communicate(timeout=60)
        self.assertEqual((watcher.returncode, errors), (harness.EXIT_READER_GONE, ""))

    def test_watching_a_run_ends_on_a_full_disk(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            watcher = self.watch(self.waiting(), full)
            _, errors = watcher.communicate(timeout=60)
        self.assertEqual(watcher.returncode, harness.EXIT_STORAGE, errors)

    def test_an_export_goes_where_it_is_sent(self):
        parties = self.waiting()
        target, link, fifo = (parties.directory / name for name in ("model", "link", "fifo"))
        target.write_text("old", encoding="utf-8")
        link.symlink_to("model")
        os.mkfifo(fifo)
        export = [harness.BINARIES / "tributary", "--config", parties.directory / "operator.yaml", "export", "--output"]
        piped = subprocess.run([*map(str, export), "-"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)
        self.assertIn(b"state hash", piped.stderr)
        self.assertEqual(run(*export, link, stdout=subprocess.PIPE).returncode, 0)
        self.assertTrue(link.is_symlink())
        self.assertEqual(target.read_bytes(), piped.stdout)
        with subprocess.Popen(["cat", str(fifo)], stdout=subprocess.PIPE) as reader:
            self.assertEqual(run(*export, fifo, stdout=subprocess.PIPE).returncode, 0)
            self.assertEqual(reader.stdout.read(), piped.stdout)
        self.assertTrue(fifo.is_fifo())
        self.assertEqual(run(*export, "/dev/full", stdout=subprocess.PIPE).returncode, harness.EXIT_STORAGE)
        self.assertTrue(pathlib.Path("/dev/full").is_char_device())

    def test_lines_fit_the_terminal(self):
        parties = self.waiting()
        for command in (("run", "list"), ("run", "status")):
            for columns, environment in ((60, {}), (50, {"COLUMNS": "50"})):
                with self.subTest(command=command, columns=columns):
                    master, slave = pty.openpty()
                    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
                    run(harness.BINARIES / "tributary", "--config", parties.directory / "operator.yaml", *command, stdout=slave,
                        env={key: value for key, value in os.environ.items() if key != "COLUMNS"} | environment)
                    os.close(slave)
                    shown = os.read(master, 65536).decode("utf-8")
                    os.close(master)
                    self.assertLessEqual(max(len(line) for line in shown.splitlines()), columns, shown)


if __name__ == "__main__":
    harness.main()
