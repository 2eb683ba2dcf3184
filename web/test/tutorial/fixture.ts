// A tutorial that is not there, for looking at the page.
import type { FileChange, Outline, StepPage, StepType } from '../../src/tutorial/types.js';

const made: [StepType, string, string, string, FileChange[]][] = [];
const file = (path: string, status: FileChange['status'], diff: string, more: Partial<FileChange> = {}): FileChange => ({
    path, status, binary: false, tooLarge: false, diff,
    additions: diff.split('\n').filter((line) => line.startsWith('+')).length,
    deletions: diff.split('\n').filter((line) => line.startsWith('-')).length, ...more,
});

made.push(['section', 'A list that remembers', '', `# A list that remembers

We build a small to-do list for the terminal, in Rust. It reads commands, keeps its items in a file, and prints them as a table. Every step is a commit, so your editor can be where this page is.

You need Rust 1.85 or later, and a terminal. Nothing else.

| chapter | what you meet |
| --- | --- |
| Items | structs, enums, \`match\` |
| A file | \`serde\`, errors with \`?\` |
| Manners | exit codes, help texts |
`, []]);
made.push(['template', 'An item and its state', 'A list that remembers', `An item has a text, and it is done or it is not. A \`bool\` would do, but an enum says what it means, and leaves room for a third state.

\`\`\`rust
/// What has become of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Done,
}
\`\`\`

**Your turn.** Write \`Item::done\`, which turns an item into one that is done, and make the test pass:

1. Take \`self\` by value: the old item is gone then.
2. Use the [struct update syntax](https://doc.rust-lang.org/book/ch05-01-defining-structs.html) for the rest.

> Taking \`self\` by value is how Rust says “you cannot use the old one any more”.
`, [file('src/item.rs', 'modified', `@@ -1,9 +1,24 @@ struct Item
 //! What is on the list.
 
-/// Something to do.
-#[derive(Debug)]
+/// Something to do, and what has become of it.
+#[derive(Clone, Debug, PartialEq)]
 pub struct Item {
     pub text: String,
-    pub done: bool,
+    pub state: State,
+}
+
+/// What has become of an item.
+#[derive(Clone, Copy, Debug, PartialEq, Eq)]
+pub enum State {
+    Open,
+    Done,
+}
+
+impl Item {
+    /// The same item, done.
+    pub fn done(self) -> Self {
+        todo!("your turn")
+    }
 }
@@ -40,3 +55,8 @@ mod tests
     fn new_items_are_open() {
-        assert!(!Item::new("tea").done);
+        assert_eq!(Item::new("tea").state, State::Open);
+    }
+
+    #[test]
+    fn done_items_are_done() {
+        assert_eq!(Item::new("tea").done().state, State::Done);
     }
`), file('Cargo.toml', 'modified', `@@ -3,4 +3,4 @@
 name = "remember"
-version = "0.1.0"
+version = "0.2.0"
 edition = "2024"
`), file('assets/list.png', 'added', '', { binary: true, diff: null })]]);
made.push(['solution', 'An item and its state', 'A list that remembers', `Taking \`self\` by value, everything but the state is moved into the new item:

\`\`\`rust
pub fn done(self) -> Self {
    Self { state: State::Done, ..self }
}
\`\`\`
`, [file('src/item.rs', 'modified', `@@ -20,5 +20,5 @@ impl Item
     /// The same item, done.
     pub fn done(self) -> Self {
-        todo!("your turn")
+        Self { state: State::Done, ..self }
     }
`)]]);
made.push(['action', 'Read a command', 'A list that remembers', 'Run `cargo run -- add tea` and look at what comes out.\n\n- [x] `add TEXT`\n- [x] `list`\n- [ ] `done NUMBER`\n', [file('src/main.rs', 'modified', '@@ -1,3 +1,4 @@\n fn main() {\n-    println!("hello");\n+    let words: Vec<String> = std::env::args().skip(1).collect();\n+    println!("{}", words.join(" "));\n }\n')]]);
made.push(['section', 'Kept in a file', '', 'A list that forgets is of little use. We write it to a file, as JSON, and read it when the program starts.', []]);
made.push(['template', 'Write the list, and mean it', 'Kept in a file', 'Write to a file beside it first, then rename: a reader sees the old list or the new one, and never half of one.', [file('src/store.rs', 'added', '@@ -0,0 +1,3 @@\n+pub fn save(items: &[Item]) -> io::Result<()> {\n+    todo!()\n+}\n')]]);
made.push(['solution', 'Write the list, and mean it', 'Kept in a file', 'As promised.', []]);
made.push(['action', 'Errors that say what to do', 'Kept in a file', 'An error message has two halves: what is wrong, and what to do about it.', []]);
made.push(['section', 'Manners', '', 'A program for other programs: exit codes, and no colours in a pipe.', []]);
made.push(['action', 'Exit codes', 'Manners', 'Zero is good.', []]);
made.push(['action', 'A help text worth reading', 'Manners', 'Begin with an example.', []]);
made.push(['action', 'Where to go from here', 'Manners', 'Thank you for reading.', []]);

const hash = (index: number) => (0x5eed + index * 7919).toString(16).padStart(8, '0').repeat(5);

export const outline: Outline = {
    title: 'Remember: a to-do list in Rust',
    repoUrl: 'https://example.org/remember.git',
    steps: made.map(([type, title, section], index) => ({ index, id: `step-${index}`, title, type, commitHash: hash(index), section: section || null })),
};

export function page(index: number, solution: boolean): StepPage {
    const at = solution && made[index + 1]?.[0] === 'solution' ? index + 1 : index;
    const step = made[at];
    if (!step) throw new Error(`there is no step ${index}`);
    const [type, title, , markdown, files] = step;
    return { index: at, id: `step-${at}`, title, type, commitHash: hash(at), markdown, files };
}
