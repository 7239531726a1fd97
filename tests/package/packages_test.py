"""The Debian packages: what they hold, need, and do when they come and go. Whether they install is for distributions.sh.

Usage: packages_test.py BUILD_DIR
"""

import gzip
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_NAMES = ("tributary", "tributary-coordinator", "tributary-worker")
_SERVICES = _NAMES[1:]
_NEEDED = ("cpack", "dpkg-deb", "dpkg-shlibdeps", "file", "help2man")
_SKIPPED = 77


def output_of(*command):
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True).stdout


class Package:
    """One .deb, unpacked."""

    def __init__(self, deb, place):
        self.root, self.control = place / "root", place / "control"
        place.mkdir()
        subprocess.run(["dpkg-deb", "-x", deb, self.root], check=True)
        subprocess.run(["dpkg-deb", "-e", deb, self.control], check=True)
        self.fields = dict(re.findall(r"^(\S+): (.*)$", output_of("dpkg-deb", "-f", deb), re.MULTILINE))
        # Path -> mode and owner, as "-rwxr-xr-x root/root".
        lines = [line.split(None, 5) for line in output_of("dpkg-deb", "-c", deb).splitlines()]
        self.listed = {line[5].removeprefix("."): " ".join(line[:2]) for line in lines}

    def files(self):
        return {path for path in self.listed if not path.endswith("/")}

    def text(self, path):
        return (self.root / path.lstrip("/")).read_text(encoding="utf-8")


class Packages(unittest.TestCase):
    build_dir = None

    @classmethod
    def setUpClass(cls):
        cls.place = pathlib.Path(tempfile.mkdtemp(dir=cls.build_dir))
        subprocess.run(["cpack", "--config", cls.build_dir / "CPackConfig.cmake", "-G", "DEB", "-B", cls.place], check=True,
                       stdout=subprocess.DEVNULL)
        cls.packages = {}
        for deb in sorted(cls.place.glob("*.deb")):
            name = output_of("dpkg-deb", "-f", deb, "Package").strip()
            cls.packages[name] = Package(deb, cls.place / name)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.place)

    def each(self, names=_NAMES):
        return [(name, self.packages[name]) for name in names]

    def test_there_is_one_for_each_program_that_is_operated(self):
        self.assertEqual(tuple(sorted(self.packages)), _NAMES)
        for name, package in self.each():
            self.assertEqual(package.listed[f"/usr/bin/{name}"], "-rwxr-xr-x root/root")

    def test_they_say_what_they_are(self):
        for _, package in self.each():
            fields = package.fields
            self.assertEqual(fields["Version"], output_of(self.build_dir / "bin" / "tributary", "--version").split()[1].rstrip(","))
            self.assertEqual(fields["Architecture"], output_of("dpkg", "--print-architecture").strip())
            self.assertEqual(fields["Section"], "science")
            self.assertTrue(fields["Description"].startswith("federated learning: "), fields["Description"])
            self.assertRegex(fields["Maintainer"], r"^.+ <.+@.+>$")

    def test_they_need_the_libraries_of_their_own_program_alone(self):
        for name, package in self.each():
            depends = package.fields["Depends"]
            self.assertRegex(depends, r"\blibc6 \(>= 2")
            self.assertRegex(depends, r"\blibgrpc\+\+1")
            self.assertEqual("libtorch" in depends, name == "tributary-worker", depends)
            self.assertNotIn("-dev", depends)

    def test_no_file_is_in_two_packages(self):
        owners = {}
        for name, package in self.packages.items():
            for path in package.files():
                owners.setdefault(path, []).append(name)
        self.assertEqual({path: names for path, names in owners.items() if len(names) > 1}, {})

    def test_files_are_root_s_and_where_debian_puts_them(self):
        for _, package in self.each():
            for path, what in package.listed.items():
                if path in package.files():
                    self.assertRegex(path, r"^/(usr/(bin|lib/(systemd/system|sysusers\.d)|share)|etc/default)/")
                self.assertRegex(what, r"^(drwxr-xr-x|-rwxr-xr-x|-rw-r--r--) root/root$", path)

    def test_programs_are_stripped_and_search_no_folder_of_their_own(self):
        for name, package in self.each():
            program = package.root / "usr/bin" / name
            self.assertNotIn(".debug_info", output_of("readelf", "-SW", program))
            self.assertNotRegex(output_of("readelf", "-dW", program), "RPATH|RUNPATH")

    def test_each_program_has_a_page_of_the_manual_and_a_copyright(self):
        for name, package in self.each():
            page = gzip.decompress((package.root / f"usr/share/man/man1/{name}.1.gz").read_bytes()).decode()
            self.assertIn(".SH OPTIONS", page)
            self.assertIn(f"/usr/share/doc/{name}/copyright", package.listed)

    def test_a_service_comes_with_the_unit_and_user_of_the_tree(self):
        for name, package in self.each(_SERVICES):
            unit = package.text(f"/usr/lib/systemd/system/{name}.service")
            self.assertEqual(unit, (_ROOT / "deploy/systemd" / f"{name}.service").read_text(encoding="utf-8"))
            users = re.findall(r"^u (\S+) ", package.text(f"/usr/lib/sysusers.d/{name}.conf"), re.MULTILINE)
            self.assertEqual(users, re.findall(r"^User=(.*)$", unit, re.MULTILINE))
            for document in re.findall(r"^Documentation=file://(.*)$", unit, re.MULTILINE):
                self.assertIn(document, package.listed)
            for environment in re.findall(r"^EnvironmentFile=-(.*)$", unit, re.MULTILINE):
                self.assertIn(environment, package.listed)
            for program in re.findall(r"^ExecStart=(\S+)", unit, re.MULTILINE):
                self.assertIn(program, package.listed)
            self.assertRegex(package.fields["Depends"], r"systemd \| systemd-standalone-sysusers")

    def test_what_a_person_edits_is_kept_by_upgrades(self):
        for _, package in self.each(_SERVICES):
            listed = package.control / "conffiles"
            conffiles = set(listed.read_text(encoding="utf-8").split()) if listed.exists() else set()
            self.assertEqual(conffiles, {path for path in package.files() if path.startswith("/etc/")})
            self.assertIn("/etc/tributary/", package.listed)

    def test_scripts_name_their_service_and_leave_what_it_kept(self):
        for name, package in self.each(_SERVICES):
            for script in ("postinst", "prerm", "postrm"):
                path = package.control / script
                self.assertEqual(path.stat().st_mode & 0o777, 0o755)
                subprocess.run(["sh", "-n", path], check=True)
                text = path.read_text(encoding="utf-8")
                self.assertEqual(set(re.findall(r"(\S+)\.service", text)), {name})
                self.assertNotIn("@", text)
                self.assertNotRegex(text, r"\brm\b")

    def test_example_configurations_parse(self):
        for name, package in self.each(_SERVICES):
            component = name.removeprefix("tributary-")
            result = subprocess.run([self.build_dir / "bin" / name, "doctor", "--config",
                                     package.root / f"usr/share/doc/{name}/examples/{component}.yaml"], stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, text=True, check=False)
            self.assertRegex(result.stdout, r"(?m)^ok +configuration ")

    def test_the_coordinator_brings_what_watches_it(self):
        listed = self.packages["tributary-coordinator"].listed
        for path in ("prometheus/alerts.yaml", "prometheus/recording.yaml", "grafana/dashboards/federation.json"):
            self.assertIn(f"/usr/share/tributary/{path}", listed)

    def test_the_command_brings_completion_and_the_documentation(self):
        package = self.packages["tributary"]
        self.assertIn("complete ", package.text("/usr/share/bash-completion/completions/tributary"))
        self.assertIn("/usr/share/doc/tributary/docs/reference/configuration.md", package.listed)


if __name__ == "__main__":
    missing = [program for program in _NEEDED if shutil.which(program) is None]
    if missing:
        print(f"packages_test: skipped, because these are not installed: {', '.join(missing)} (deploy/install-deps.sh --tests)")
        sys.exit(_SKIPPED)
    Packages.build_dir = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main()
