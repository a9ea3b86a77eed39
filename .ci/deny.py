"""Holds `.deny.toml` to Cargo.lock: every chain in it is real, nothing is missing, nothing is stale.

cargo-deny does more where it is installed; this needs Python alone, no network, and a second. It never looks into the
advisory database: which advisories there are is not known here, only whether those that we list still apply.
"""
import json
import re
import subprocess
import sys
import tomllib

REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"


def matches(package, spec):
    """`name`, `name@1`, `name 1.2` and `name 1.2.3` name a package."""
    name, _, version = spec.strip().replace("@", " ").partition(" ")
    return package["name"] == name and (package["version"] + ".").startswith(version + "." if version else "")


def allowed(expression, allow):
    """Whether an SPDX expression of AND, OR, WITH and parentheses can be met with the allowed licences."""
    words = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def either():
        met = both()
        while words and words[0] == "OR":
            words.pop(0)
            met = both() or met
        return met

    def both():
        met = one()
        while words and words[0] == "AND":
            words.pop(0)
            met = one() and met
        return met

    def one():
        word = words.pop(0)
        if word == "(":
            met = either()
            words.pop(0)
            return met
        if words and words[0] == "WITH":
            word = f"{word} WITH {words.pop(1)}"
            words.pop(0)
        return word in allow

    return either()


def main():
    wrong = []
    deny = tomllib.load(open(".deny.toml", "rb"))
    command = ["cargo", "metadata", "--format-version", "1", "--all-features", "--locked"]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    edges = {node["id"]: node["dependencies"] for node in metadata["resolve"]["nodes"]}

    def depends(upper, lower):
        return any(
            matches(packages[above], upper) and matches(packages[below], lower)
            for above, below_it in edges.items()
            for below in below_it
        )

    for advisory in deny["advisories"]["ignore"]:
        for chain in advisory["reason"].split(";"):
            links = [re.sub(r"\(.*?\)", "", link) for link in chain.split("<-")]
            for lower, upper in zip(links, links[1:]):
                if not depends(upper, lower):
                    wrong.append(f"{advisory['id']}: {upper.strip()} does not bring {lower.strip()}")

    allow = set(deny["licenses"]["allow"])
    foreign = [package for package in packages.values() if package["source"]]
    for package in foreign:
        if not allowed(package["license"] or "none", allow):
            wrong.append(f"licence of {package['name']} {package['version']}: {package['license']}")
        if package["source"] != REGISTRY:
            wrong.append(f"source of {package['name']} {package['version']}: {package['source']}")
    met = [package["license"] for package in foreign if allowed(package["license"] or "none", allow)]
    for licence in sorted(allow):
        if all(allowed(expression, allow - {licence}) for expression in met):
            wrong.append(f"licence {licence} is allowed, and nothing needs it")

    skips = [skip["crate"] for skip in deny["bans"]["skip"]]
    twice = 0
    for name in sorted({package["name"] for package in foreign}):
        versions = [package for package in foreign if package["name"] == name]
        kept = [package for package in versions if not any(matches(package, skip) for skip in skips)]
        twice += len(versions) > 1
        if len(kept) > 1:
            wrong.append(f"{name} is there as {', '.join(package['version'] for package in versions)}")
    for skip in skips:
        if not any(matches(package, skip) for package in foreign):
            wrong.append(f"{skip} is skipped, and is not there")

    for ban in deny["bans"]["deny"]:
        found = [package["version"] for package in foreign if matches(package, ban["crate"])]
        if len(found) > (1 if ban.get("deny-multiple-versions") else 0):
            wrong.append(f"{ban['crate']} {', '.join(found)}: {ban['reason']}")

    for line in wrong:
        print(f".deny.toml: {line}")
    ignored = len(deny["advisories"]["ignore"])
    print(f"{len(foreign)} packages, {twice} in two versions, {ignored} known advisories; {len(wrong)} things wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
