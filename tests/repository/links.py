"""Checks that the programs which must stay free of LibTorch do not link it."""

import subprocess
import sys


def main(programs):
    failed = False
    for program in programs:
        libraries = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        found = [line.strip() for line in libraries.splitlines() if "libtorch" in line or "libc10" in line]
        print(f"{program}: {len(libraries.splitlines())} libraries, {len(found)} of LibTorch")
        for line in found:
            print(f"  {line}")
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
