"""Holds the documents to the tree: every test and every file that they name exists, and every promise has its tests.

A test is any `name_of_four_words_or_more` in backticks. It must be defined exactly once: a `fn` of that name below
`#[test]` or `#[tokio::test…]`, also inside `proptest!`, or a promise of the engines' common suite. A file is anything
in backticks with an ending that files here have; without a `/`, a file of that name must exist anywhere.

docs/promises.md: below each `###` heading stand `- Code:`, `- Tests:` and `- Not yet:`; a promise without code and tests
must say what is not yet built. Every bold promise of the README is one of these headings, word for word.
"""
import collections
import pathlib
import re
import sys

PAPERS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs")
PROMISES = "docs/promises.md"
ENDINGS = ("rs", "toml", "md", "py", "lock", "gz")
TEST = re.compile(r"#\[(?:tokio::)?test[^\n]*\](?:\s*#\[[^\n]*\])*\s*(?:async )?fn (\w+)")
COMMON_SUITE = re.compile(r"^            (\w+),?$", re.MULTILINE)
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+){3,}")


def papers(root):
    for name in PAPERS:
        path = root / name
        yield from sorted(path.rglob("*.md")) if path.is_dir() else [path] if path.exists() else []


def defined_tests(root):
    """How often each test is defined."""
    tests = collections.Counter()
    for path in root.rglob("*.rs"):
        if "target" in path.relative_to(root).parts:
            continue
        source = path.read_text()
        tests.update(TEST.findall(source))
        if "macro_rules! conformance" in source:
            tests.update(set(COMMON_SUITE.findall(source)))
    return tests


def named(text):
    """The tests and the files that a text names: a name of four words or more in backticks is a test."""
    quoted = set(re.findall(r"`([^`\n]+)`", text))
    tests = {name for name in quoted if NAME.fullmatch(name)}
    files = {name for name in quoted if re.fullmatch(r"[\w.-]*\w[\w.-]*(/[\w.-]+)*", name) and "." in name[1:] and name.rsplit(".", 1)[-1] in ENDINGS}
    return tests, files


def file_names(root):
    """Names of all files of the tree, without their folders."""
    return {path.name for path in root.rglob("*") if not {"target", ".git"} & set(path.relative_to(root).parts)}


def promises(root):
    """Headings of the promises, and what is wrong with them."""
    headings, wrong = [], []
    for section in re.split(r"^### ", (root / PROMISES).read_text(), flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        headings.append(heading)
        tests, files = named(body)
        if not (tests and files) and "- Not yet: all of it" not in body:
            wrong.append(f"{PROMISES}: {heading!r} names no code or no tests")
    wrong += [f"{PROMISES}: {heading!r} stands twice" for heading in set(headings) if headings.count(heading) > 1]
    bold = re.findall(r"^- \*\*(.+?)\*\*", (root / "README.md").read_text().partition("## Promises")[2], re.MULTILINE)
    wrong += [f"README.md: {promise!r} is no heading of {PROMISES}" for promise in bold if promise not in headings]
    if not headings or not bold:
        wrong.append("no promises found")
    return len(headings), wrong


def main(root):
    count, wrong = promises(root)
    tests, bare, total = defined_tests(root), file_names(root), 0
    for path in papers(root):
        named_tests, named_files = named(path.read_text())
        total += len(named_tests)
        paper = path.relative_to(root)
        wrong += [f"{paper}: {tests[name]} tests called {name}" for name in sorted(named_tests) if tests[name] != 1]
        places = (root, path.parent)
        exists = lambda name: name in bare or any((at / name).exists() for at in places)
        wrong += [f"{paper}: no file {name}" for name in sorted(named_files) if not exists(name)]
    print(*wrong, sep="\n" if wrong else "")
    print(f"{count} promises, {total} tests named; {len(wrong)} mistakes")
    return 1 if wrong or not total else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
