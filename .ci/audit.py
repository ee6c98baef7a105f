"""Look for known vulnerabilities in locked requirements: ``audit.py FILE...``, with pip-audit.

Exit status 1: there are some, or the audit itself failed. 0: there are none; or no index of advisories
answers, which the last line says.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

TIMEOUT_S = 120
# Words of the errors with which pip-audit ends where it reaches no index.
UNREACHABLE = (
    "ConnectionError",
    "ConnectTimeout",
    "ReadTimeout",
    "Failed to resolve",
    "ProxyError",
    "SSLError",
)


def main(files: list[str]) -> int:
    command = [
        "pip-audit",
        "--disable-pip",
        "--require-hashes",
        "--progress-spinner",
        "off",
        "--timeout",
        "10",
    ]
    command += ["--format", "json", *(word for file in files for word in ("-r", file))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return _skipped("the index of advisories does not answer in time")
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, LookupError):
        if any(word in done.stderr for word in UNREACHABLE):
            return _skipped("the index of advisories cannot be reached")
        print(done.stderr, file=sys.stderr)
        print(f"audit failed: pip-audit ended with {done.returncode}", file=sys.stderr)
        return 1
    return _report(dependencies)


def _report(dependencies: list[dict[str, Any]]) -> int:
    audited = [each for each in dependencies if "skip_reason" not in each]
    if not audited:
        return _skipped("the package index in use has no advisories")
    for each in dependencies:
        if "skip_reason" in each:
            print(f"not audited: {each['name']}: {each['skip_reason']}")
    vulnerable = [each for each in audited if each["vulns"]]
    for each in vulnerable:
        for found in each["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no version yet"
            print(f"vulnerable: {each['name']} {each['version']}: {found['id']}; fixed in {fixed}")
    print(f"audited {len(audited)} of {len(dependencies)} packages: {len(vulnerable)} vulnerable")
    return 1 if vulnerable else 0


def _skipped(reason: str) -> int:
    print(f"audit SKIPPED: {reason}; nothing was checked")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
