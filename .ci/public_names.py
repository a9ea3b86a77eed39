"""Checks that users of `peerbase` can name every type of its public API, and that no page leads to the inner crates.

Reads what `cargo doc --workspace --no-deps` wrote. A public signature that names a type of an inner crate links to
that crate's page unless `peerbase` re-exports the type with `#[doc(inline)]`. Types of `peerbase` itself that cannot be
named are found by the lint `unnameable_types`.
"""

import html
import pathlib
import re
import sys

INNER = re.compile(r'href="((?:\.\./)+(peerbase_schema|peerbase_actors)/[^"#]*)')


def main(docs):
    pages = sorted((docs / "peerbase").rglob("*.html"))
    found = {}
    for page in pages:
        for link, _ in INNER.findall(page.read_text()):
            found.setdefault(html.unescape(link).lstrip("./"), []).append(str(page.relative_to(docs)))
    for link, where in sorted(found.items()):
        print(f"{link}: on {len(where)} pages, first {where[0]}")
    print(f"{len(pages)} pages of the public API; {len(found)} links to types of the inner crates")
    return 1 if found or not pages else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "target/doc")))
