#!/usr/bin/env python3
"""Lays out the root file system of a container image: programs, the libraries they load, and nothing else.

  image_root.py DESTINATION PROGRAM...

Besides the programs (in /usr/bin) and what `ldd` names, the image gets the certificates, the time zones and the two small files of users
that the C library reads. /usr/share/doc/tributary/sbom.spdx.json lists the Debian packages that the files came from (SPDX 2.3).
Without a shell and a package manager there is nothing to run in a container that was broken into, and nothing to patch but this list.
"""
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

DATA = ["/etc/ssl/certs/ca-certificates.crt", "/usr/share/zoneinfo"]
# Loaded by name at run time, so no `ldd` shows them: host names are resolved through them.
LOADED_LATER = ["/lib/x86_64-linux-gnu/libnss_dns.so.2", "/lib/x86_64-linux-gnu/libnss_files.so.2"]
FILES = {
    "etc/passwd": "root:x:0:0::/:/sbin/nologin\ntributary:x:10001:10001::/var/lib/tributary:/sbin/nologin\n",
    "etc/group": "root:x:0:\ntributary:x:10001:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def libraries(program):
    """Paths of the libraries and the loader that `program` starts with."""
    text = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    missing = re.findall(r"(\S+) => not found", text)
    if missing:
        raise SystemExit(f"image_root: {program} needs {', '.join(missing)}, which this system does not have")
    return re.findall(r"(/\S+) \(0x", text)


def copy(source, root):
    target = os.path.join(root, source.lstrip("/"))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.isdir(source):
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copy2(os.path.realpath(source), target)


def package_of(path):
    """The Debian package that a file came from; a merged /usr knows some files by their old path only."""
    real = os.path.realpath(path)
    for candidate in dict.fromkeys([path, real, real.removeprefix("/usr"), "/usr" + path]):
        found = subprocess.run(["dpkg-query", "-S", candidate], capture_output=True, text=True)
        if found.returncode == 0:
            return found.stdout.split(": ")[0].split(",")[0]
    return None


def sbom(sources, programs):
    names = sorted({package for package in map(package_of, sources) if package})
    shown = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version} ${Architecture}\n", *names], check=True, capture_output=True,
                           text=True).stdout
    packages = []
    for name, version, architecture in sorted(map(str.split, shown.splitlines())):
        packages.append({
            "SPDXID": "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", name), "name": name, "versionInfo": version,
            "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                              "referenceLocator": f"pkg:deb/debian/{name}@{version}?arch={architecture}"}]})
    for program in programs:
        with open(program, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        packages.append({"SPDXID": "SPDXRef-" + os.path.basename(program), "name": os.path.basename(program),
                         "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
                         "checksums": [{"algorithm": "SHA256", "checksumValue": digest}]})
    # The name says what is inside, so that the same files give the same document.
    identity = hashlib.sha256(json.dumps(packages).encode()).hexdigest()
    return {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "tributary",
            "documentNamespace": f"urn:sha256:{identity}",
            "creationInfo": {"created": "1970-01-01T00:00:00Z", "creators": ["Tool: image_root.py"]}, "packages": packages,
            "relationships": [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": entry["SPDXID"]}
                              for entry in packages]}


def main(root, programs):
    sources = sorted({path for program in programs for path in libraries(program)} | {p for p in LOADED_LATER if os.path.exists(p)})
    for path in sources:
        copy(path, root)
    for path in DATA:
        if not os.path.exists(path):
            raise SystemExit(f"image_root: {path} is missing; install ca-certificates and tzdata")
        copy(path, root)
    os.makedirs(os.path.join(root, "usr/bin"), exist_ok=True)
    for program in programs:
        shutil.copy2(program, os.path.join(root, "usr/bin"))
    for name, text in FILES.items():
        os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
        with open(os.path.join(root, name), "w", encoding="utf-8") as file:
            file.write(text)
    place = os.path.join(root, "usr/share/doc/tributary")
    os.makedirs(place, exist_ok=True)
    with open(os.path.join(place, "sbom.spdx.json"), "w", encoding="utf-8") as file:
        json.dump(sbom(sources + ["/usr/share/zoneinfo/UTC"], programs), file, indent=1)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(sys.argv[1], sys.argv[2:])
