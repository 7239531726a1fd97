#!/usr/bin/env python3
"""Lays out the root folder of a container image: programs, the libraries they load, and nothing else.

Usage: image_root.py DESTINATION PROGRAM...

Besides the programs (in /usr/bin) and their libraries (in /usr/lib) the image gets the certificates of public authorities, the time zones
and the two small files of users that the C library reads. /usr/share/doc/tributary/sbom.spdx.json lists what all of that came from
(SPDX 2.3); the licences lie next to it. Without a shell and a package manager there is nothing to run in a container that was broken into.

The same programs and packages give the same bytes. Needs what libraries.py needs, ca-certificates and tzdata.
"""

import hashlib
import json
import pathlib
import re
import shutil
import subprocess
import sys

import libraries

_USER = 10001
_FILES = {
    "etc/passwd": f"root:x:0:0::/:/sbin/nologin\ntributary:x:{_USER}:{_USER}::/var/lib/tributary:/sbin/nologin\n",
    "etc/group": f"root:x:0:\ntributary:x:{_USER}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
# Path -> the package that it is of.
_DATA = {"/etc/ssl/certs/ca-certificates.crt": "ca-certificates", "/usr/share/zoneinfo": "tzdata"}


def copy_data(root):
    for name, package in _DATA.items():
        source, target = pathlib.Path(name), root / name.lstrip("/")
        if not source.exists():
            raise libraries.PackError(f"{name} is missing: apt-get install {package}")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copyfile(source, target)


def package_entry(name, version, architecture):
    return {"SPDXID": "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", name), "name": name, "versionInfo": version,
            "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                              "referenceLocator": f"pkg:deb/debian/{name}@{version}?arch={architecture}"}]}


def program_entry(program):
    return {"SPDXID": f"SPDXRef-{program.name}", "name": program.name, "versionInfo": libraries.version_of(program),
            "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
            "checksums": [{"algorithm": "SHA256", "checksumValue": hashlib.sha256(program.read_bytes()).hexdigest()}]}


def bill_of_materials(programs, sources):
    packages = {}
    for path in sources:
        found = libraries.package_of(path)
        if found is None:
            raise libraries.PackError(f"{path} is of no package, so nobody would hear of its mistakes")
        packages[found[0]] = found[1]
    for name in _DATA.values():
        packages[name] = libraries.output_of("dpkg-query", "-W", "-f=${Version}", name)
    architecture = libraries.output_of("dpkg", "--print-architecture").strip()
    entries = [program_entry(program) for program in programs]
    entries += [package_entry(name, version, architecture) for name, version in sorted(packages.items())]
    # Named by its content, so that the same image has the same document.
    identity = hashlib.sha256(json.dumps(entries).encode()).hexdigest()
    return {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "tributary",
            "documentNamespace": f"urn:sha256:{identity}",
            "creationInfo": {"created": "1970-01-01T00:00:00Z", "creators": ["Tool: image_root.py"]}, "packages": entries,
            "relationships": [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": entry["SPDXID"]}
                              for entry in entries]}


def lay_out(root, programs):
    folder, documents, binaries = root / "usr/lib", root / "usr/share/doc/tributary", root / "usr/bin"
    for place in (folder, documents / "licenses", binaries):
        place.mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    kept, left_out, loader = libraries.lay_out(programs, folder)
    # The programs name their loader by its whole path.
    if kept[loader].parent.name != "lib":
        (root / kept[loader].parent.relative_to("/")).symlink_to("usr/lib")
    for program in programs:
        subprocess.run(["strip", "--strip-debug", "-o", str(binaries / program.name), str(program)], check=True)
    copy_data(root)
    for name, text in _FILES.items():
        (root / name).write_text(text, encoding="utf-8")
    libraries.describe_libraries(kept, left_out, documents / "licenses")
    (documents / "sbom.spdx.json").write_text(json.dumps(bill_of_materials(programs, kept.values()), indent=1) + "\n", encoding="utf-8")


def main(root, *programs):
    if root.exists():
        raise libraries.PackError(f"{root} is there already")
    lay_out(root, programs)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        main(*map(pathlib.Path, sys.argv[1:]))
    except (libraries.PackError, subprocess.CalledProcessError) as error:
        sys.exit(f"image_root: {error}")
