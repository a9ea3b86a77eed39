"""The language of the code (docs/glossary.md): counts what a stranger would stumble over, and fails above the bounds."""

import re
import subprocess
import sys
from pathlib import Path

OPENERS = set("what who whom whose where when how why which whoever whatever whenever wherever whether".split())
OPENERS_SHARE_MAX = 0.02
LINE_MAX = 110
GLOSSARY = "docs/glossary.md"
# Vectors, records of what was, and data are quoted, not written.
QUOTED = re.compile(r"^(schema/tests/data/|LICENSE)|english\.txt$|Cargo\.lock$")


def files(*patterns):
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *patterns], capture_output=True, text=True, check=True)
    return [f for f in listed.stdout.split() if Path(f).exists() and not QUOTED.search(f)]


def banned():
    """Word sequences of the glossary's last column, as tuples of lower-case words."""
    phrases = {}
    for line in Path(GLOSSARY).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 3 and cells[0] not in ("term", "---"):
            for phrase in filter(None, (p.strip() for p in cells[2].split(","))):
                phrases[tuple(phrase.lower().split())] = cells[0]
    return phrases


def words(line):
    """Words of a line; identifiers fall apart at underscores and humps."""
    line = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", line)
    return re.findall(r"[a-z]+(?:'[a-z]+)?", line.replace("_", " ").lower())


def first_words_of_comments(text):
    """The first word of each paragraph of each comment."""
    last = None
    for line in text.splitlines():
        comment = re.match(r"\s*(///|//!|//)\s*(.*)", line)
        kind = comment and comment.group(1)
        if kind and not comment.group(2):
            kind = None  # an empty line ends a paragraph
        if kind and kind != last:
            word = re.match(r"[^A-Za-z]*([A-Za-z]+)", comment.group(2))
            yield word.group(1).lower() if word else ""
        last = kind


def main():
    verbose = "-v" in sys.argv[1:]
    only = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    phrases = banned()
    longest = max(map(len, phrases))
    comments, openers, uses, long_lines = 0, [], [], []
    for file in files(*(only or ["*.rs", "*.md", "*.toml", "*.py"])):
        if file == GLOSSARY or file == ".ci/language.py":
            continue
        text = Path(file).read_text()
        if file.endswith(".rs"):
            for word in first_words_of_comments(text):
                comments += 1
                if word in OPENERS:
                    openers.append(f"{file}: {word}")
        for number, line in enumerate(text.splitlines(), 1):
            if file.endswith(".rs") and len(line) > LINE_MAX:
                long_lines.append(f"{file}:{number}")
            spoken = words(line)
            for at in range(len(spoken)):
                for length in range(1, longest + 1):
                    term = phrases.get(tuple(spoken[at : at + length])) if at + length <= len(spoken) else None
                    if term:
                        uses.append(f"{file}:{number}: {' '.join(spoken[at : at + length])!r}; the glossary has {term!r}")
    share = len(openers) / max(comments, 1)
    failed = share > OPENERS_SHARE_MAX or bool(uses) or bool(long_lines)
    if verbose or (failed and not only):
        for found in openers[: None if verbose else 20] + uses[: None if verbose else 20] + long_lines[: None if verbose else 20]:
            print(found)
    print(
        f"language: {comments} paragraphs of comments, {len(openers)} ({share:.1%}) begin with a relative or question word, "
        f"at most {OPENERS_SHARE_MAX:.0%}; {len(uses)} uses of banned words; {len(long_lines)} lines beyond {LINE_MAX}"
    )
    sys.exit(1 if failed else 0)


main()
