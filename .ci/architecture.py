"""Holds docs/ARCHITECTURE.md to the tree: every test and every file that it names is there.

A test is any `name_of_four_words_or_more` in backticks: it must be a `fn` of that name below an attribute `#[test]` or
`#[tokio::test…]`, in a `proptest!` block, or a promise of the engines' common suite. A file is anything in backticks
with a `/` or an ending that files here have.
"""
import pathlib
import re
import sys

ENDINGS = ("rs", "toml", "md", "py", "lock")


def main(root):
    text = (root / "docs/ARCHITECTURE.md").read_text()
    sources = [path.read_text() for path in root.rglob("*.rs") if "target" not in path.relative_to(root).parts]
    tests = set()
    for source in sources:
        tests.update(re.findall(r"#\[(?:tokio::)?test[^\n]*\](?:\s*#\[[^\n]*\])*\s*(?:async )?fn (\w+)", source))
        if "macro_rules! conformance" in source:
            tests.update(re.findall(r"^            (\w+),?$", source, re.MULTILINE))

    quoted = set(re.findall(r"`([^`\n]+)`", text))
    named_tests = {name for name in quoted if re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+){3,}", name)}
    named_files = {
        name
        for name in quoted
        if re.fullmatch(r"[\w./-]+", name) and ("/" in name or name.rsplit(".", 1)[-1] in ENDINGS)
    }
    places = [root, root / "actors/src/node", root / "docs"]
    wrong = [f"no test {name}" for name in sorted(named_tests - tests)]
    wrong += [f"no file {name}" for name in sorted(named_files) if not any((at / name).exists() for at in places)]
    for line in wrong:
        print(f"docs/ARCHITECTURE.md: {line}")
    print(f"{len(named_tests)} tests and {len(named_files)} files named; {len(wrong)} not there")
    return 1 if wrong or not named_tests or not named_files else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
