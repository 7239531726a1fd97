"""What programs load: the libraries they need, stand-ins for those that are left out, and whose they are.

Needs Debian, binutils and, where something is left out, a C compiler. Standard library only.
"""

import functools
import pathlib
import re
import shutil
import subprocess

# What Debian's LibTorch links and a worker never calls: Caffe2's operators on pictures, films and databases, its transports between
# machines, OpenCL. They bring 250 more libraries. In their place stand libraries of the same names whose functions end the process.
_LEFT_OUT = re.compile(r"lib(opencv_\w+|av(codec|format|util)|sw(scale|resample)|OpenCL|lmdb|leveldb|snappy|zmq|tensorpipe|gloo)\.so\.")

_STUB_CODE = """\
    .text
    .type tributary_left_out, @function
tributary_left_out:
    mov $1, %eax
    mov $2, %edi
    lea message(%rip), %rsi
    mov $message_end - message, %edx
    syscall
    ud2
    .size tributary_left_out, . - tributary_left_out
    .section .rodata
message: .ascii "ERROR worker: called a part of LibTorch that this package leaves out ({name}); report it\\n"
message_end:
    .section .note.GNU-stack,"",@progbits
"""


class PackError(Exception):
    """What cannot be packed, and why."""


def output_of(*command):
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def needed(path):
    return re.findall(r"\(NEEDED\).*\[(.+)\]", output_of("readelf", "-dW", path))


def resolve(program):
    """Name -> path of all that the loader would load for `program`, the loader itself included."""
    paths = {}
    for line in output_of("ldd", program).splitlines():
        if "not found" in line:
            raise PackError(f"{program}: {line.strip()}")
        match = re.match(r"\s*(?:(\S+) => )?(/\S+) \(", line)
        if match:
            paths[match[1] or pathlib.PurePath(match[2]).name] = pathlib.Path(match[2])
    return paths


def closure(program, paths):
    """What is kept: name -> path, without what only libraries that are left out need; and the names of those that are."""
    kept, left_out, waiting = {}, set(), [program]
    while waiting:
        for name in needed(waiting.pop()):
            name = pathlib.PurePath(name).name
            if _LEFT_OUT.match(name):
                left_out.add(name)
            elif name not in kept:
                kept[name] = paths[name]
                waiting.append(paths[name])
    return kept, left_out


class Symbols:
    """The dynamic symbols of a library: what it defines, and what it needs from others, with versions."""

    _LINE = re.compile(r"\s*\d+: [0-9a-f]+ +(?P<size>\S+) (?P<type>\w+) +(?P<bind>\w+) +\w+ +(?P<section>\w+) (?P<name>[^\s@]+)"
                       r"(?:@@?(?P<version>\S+))?")

    def __init__(self, path):
        self.defined, self.undefined = {}, {}
        for line in output_of("readelf", "-W", "--dyn-syms", path).splitlines():
            match = self._LINE.match(line)
            if match is None or match["bind"] == "LOCAL":
                continue
            if match["section"] != "UND":
                self.defined[match["name"]] = (match["type"], int(match["size"], 0))
            elif match["bind"] == "GLOBAL":
                self.undefined[match["name"]] = match["version"]


def versions_wanted(path):
    """Library name -> versions of symbols that `path` wants from it."""
    wanted, library = {}, None
    in_needs = False
    for line in output_of("readelf", "-VW", path).splitlines():
        in_needs = "Version needs section" in line if line.startswith("Version") else in_needs
        match = re.search(r"File: (\S+)", line)
        library = match[1] if match else library
        match = re.search(r"Name: (\S+) +Flags", line)
        if in_needs and match and library:
            wanted.setdefault(library, set()).add(match[1])
    return wanted


def make_stub(name, symbols, versions, folder):
    """A library called `name` that has `symbols` (name -> type, size, version) and `versions`, and does nothing."""
    text = [_STUB_CODE.replace("{name}", name)]
    nodes = {version: [] for version in versions}
    for symbol, (kind, size, version) in sorted(symbols.items()):
        text.append(f"    .globl {symbol}\n")
        if kind == "OBJECT":
            text.append(f"    .bss\n    .balign 32\n    .type {symbol}, @object\n    .size {symbol}, {size}\n"
                        f"{symbol}: .zero {max(size, 1)}\n")
        elif kind in ("FUNC", "IFUNC"):
            text.append(f"    .type {symbol}, @function\n    .set {symbol}, tributary_left_out\n")
        else:
            raise PackError(f"{name}: {symbol} is of type {kind}, for which there is no stand-in")
        if version is not None:
            nodes.setdefault(version, []).append(symbol)
    source, script = folder / "stub.s", folder / "stub.map"
    source.write_text("".join(text), encoding="utf-8")
    command = ["cc", "-shared", "-nostdlib", f"-Wl,-soname,{name}", "-Wl,--build-id=none", "-o", folder / name, source]
    if nodes:
        script.write_text("".join(f"{version} {{ {''.join(f'{symbol}; ' for symbol in symbols)}}};\n"
                                  for version, symbols in sorted(nodes.items())), encoding="utf-8")
        command.append(f"-Wl,--version-script={script}")
    subprocess.run([str(word) for word in command], check=True)
    source.unlink()
    script.unlink(missing_ok=True)


def make_stubs(programs, kept, left_out, paths, folder):
    files = [*programs, *kept.values()]
    wanted, satisfied, versions = {}, set(), {}
    for path in files:
        symbols = Symbols(path)
        wanted.update(symbols.undefined)
        satisfied.update(symbols.defined)
        for library, names in versions_wanted(path).items():
            versions.setdefault(library, set()).update(names)
    missing = {name: version for name, version in wanted.items() if name not in satisfied}
    # A symbol may come from what a left-out library needs itself: then the stand-in of any of them has it.
    unnamed = sorted(set(paths) - set(kept) - left_out)
    stubs = {name: {} for name in sorted(left_out)}
    for name in [*sorted(left_out), *unnamed]:
        defined = Symbols(paths[name]).defined if missing else {}
        for symbol in [symbol for symbol in missing if symbol in defined]:
            stubs[name if name in stubs else min(stubs)][symbol] = (*defined[symbol], missing.pop(symbol))
    if missing:
        raise PackError(f"nobody defines {', '.join(sorted(missing)[:5])}")
    for name, symbols in stubs.items():
        make_stub(name, symbols, versions.get(name, set()), folder)


@functools.cache
def package_of(path):
    """Debian's package of a file, with its version; None: it belongs to none."""
    for name in (path, path.resolve()):
        # /lib and /usr/lib are one folder, and packages know their files by either name.
        for known in (str(name), re.sub(r"^/usr/", "/", str(name)), f"/usr{name}"):
            found = subprocess.run(["dpkg-query", "-S", known], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
            if found.returncode == 0:
                package = found.stdout.split(": ")[0].split(",")[0]
                return package.split(":")[0], output_of("dpkg-query", "-W", "-f=${Version}", package)
    return None


def describe_libraries(kept, left_out, folder):
    """What the package holds of others: where it came from, and under which licence."""
    lines = ["library\tpackage\tversion\n"]
    for name, path in sorted(kept.items()):
        package, version = package_of(path) or ("-", "-")
        lines.append(f"{name}\t{package}\t{version}\n")
        notice = pathlib.Path("/usr/share/doc") / package / "copyright"
        if notice.exists():
            shutil.copyfile(notice, folder / f"{package}.copyright")
    lines += [f"{name}\tleft out: its functions end the worker\t-\n" for name in sorted(left_out)]
    (folder / "libraries.tsv").write_text("".join(lines), encoding="utf-8")


def version_of(program):
    return output_of(program, "--version").split()[1].rstrip(",")


def lay_out(programs, folder):
    """Puts all that `programs` load into `folder`, stand-ins included. Returns what is kept (name -> where it came from), the names of
    what is left out, and the name of the loader, which is among the former."""
    paths, kept, left_out = {}, {}, set()
    for program in programs:
        paths.update(resolve(program))
        kept_here, left_out_here = closure(program, paths)
        kept.update(kept_here)
        left_out |= left_out_here
    loader = next(name for name in paths if name.startswith("ld-linux"))
    kept[loader] = paths[loader]
    for name, path in kept.items():
        shutil.copyfile(path, folder / name)
    (folder / loader).chmod(0o755)
    if left_out:
        make_stubs(programs, kept, left_out, paths, folder)
    return kept, left_out, loader
