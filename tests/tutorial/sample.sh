#!/usr/bin/env bash
# Makes a repository that is a tutorial, for tests: sample.sh DIR [empty]. The same commits each time.
#
# Branches: gitorial (the tutorial), plain (no steps), large (a file of 2 GiB, of which only the header is there: whoever
# would read it fails), broken (a file that is missing), climbing (names that lead out of a work folder).
set -euo pipefail
directory=$1
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 TZ=UTC
export GIT_AUTHOR_NAME=Ada GIT_AUTHOR_EMAIL=ada@example.org GIT_AUTHOR_DATE='2026-01-01T00:00:00Z'
export GIT_COMMITTER_NAME=Ada GIT_COMMITTER_EMAIL=ada@example.org GIT_COMMITTER_DATE='2026-01-01T00:00:00Z'
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE

git init --quiet --initial-branch=gitorial "$directory"
cd "$directory"
[ "${2:-}" = empty ] && exit 0
git remote add origin https://me:secret@github.com/example/greeting.git

commit() { git add --all && git commit --quiet --allow-empty -m "$@"; }
lesson() { printf '%s\n' "$@" >README.md; }

lesson '# About' 'How this tutorial is made.'
commit 'readme: About this tutorial'

lesson '# A greeting' '' 'We write a program that **greets**.'
commit 'section: A greeting'

mkdir src
printf 'fn main() {}\n' >src/main.rs
printf '#!/bin/sh\ncargo run\n' >run.sh
chmod +x run.sh
printf 'target\n' >.gitignore
printf '\x89PNG\r\n\x1a\n\x00\x00' >logo.png
lesson '# Set up' '' 'Files to begin with:' '' '- `src/main.rs`' '- `run.sh`'
commit 'action: Set up the project'

printf 'fn main() {\n    // TODO: greet\n}\n' >src/main.rs
lesson '# Say hello' '' '```rust' 'println!("…");' '```'
commit 'template: Say hello' -m 'Print a line.'
printf 'fn main() {\n    println!("Hello!");\n}\n' >src/main.rs
commit 'solution: Say hello'

printf 'pub fn name() -> String {\n    todo!()\n}\n' >src/name.rs
git mv run.sh start.sh
lesson '# Ask for a name' '' 'Complete `src/name.rs`.'
commit 'template: Ask for a name'
printf 'pub fn name() -> String {\n    "Ada".to_owned()\n}\n' >src/name.rs
printf '\x89PNG\r\n\x1a\n\x00\x01' >logo.png
commit 'solution: Ask for a name'

lesson '# The end' '' 'Well done.'
git rm --quiet start.sh
ln -s src/main.rs link
commit 'section: The end'

git checkout --quiet --orphan plain
commit 'Begin'
commit 'fix: something'

# A tree of lines for git mktree, committed on a branch of its own.
branch() {
    local tree commit
    tree=$(git mktree --missing)
    commit=$(git commit-tree "$tree" -m "$2" -p gitorial)
    git branch --quiet "$1" "$commit"
}
readme=$(printf '# Readme\n' | git hash-object -w --stdin)
# A header that tells of 2 GiB, in one stored block of a zlib stream.
large=1111111111111111111111111111111111111111
mkdir -p .git/objects/11
printf '\x78\x01\x01\x10\x00\xef\xffblob 2147483648\x00\x26\x4b\x03\xcf' >.git/objects/11/${large:2}
printf '100644 blob %s\tREADME.md\n100644 blob %s\tbig.bin\n' "$readme" "$large" | branch large 'action: A large file'
missing=2222222222222222222222222222222222222222
printf '100644 blob %s\tREADME.md\n100644 blob %s\tgone.txt\n' "$readme" "$missing" | branch broken 'action: A file that is missing'
up=$(printf '100644 blob %s\tescaped.txt\n' "$readme" | git mktree)
printf '040000 tree %s\t..\n040000 tree %s\t.git\n100644 blob %s\tCON\n100644 blob %s\tREADME.md\n100644 blob %s\ta\\b\n' \
    "$up" "$up" "$readme" "$readme" "$readme" | branch climbing 'action: Names that climb'
git checkout --quiet gitorial
