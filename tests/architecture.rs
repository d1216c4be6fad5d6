//! Keeps the layers that `src/lib.rs` draws, and every third-party crate and sharp tool at home.
//!
//! `src/lib.rs` is the map: it declares the modules in groups, and a module uses modules of lower
//! groups only. The checker reads paths, not types, and is a pure function of the files' text, so
//! that it can be shown to catch what it is for.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

/// What only some modules may use, and why those.
struct Home {
    /// A path or keyword; a macro with its `!`; a function of any path with its `()`.
    what: &'static str,
    modules: &'static [&'static str],
    because: &'static str,
}

const HOMES: &[Home] = &[
    Home {
        what: "unsafe",
        modules: &["os"],
        because: "each block is a proof, and proofs are read in one place",
    },
    Home {
        what: "libc",
        modules: &["os"],
        because: "its functions are unsafe to call",
    },
    Home {
        what: "rustix",
        modules: &[
            "os", "clock", "random", "journal", "audit", "serve", "systemd", "daemon", "cli",
        ],
        because: "system calls are for those who meet the system: not for decisions or protocols",
    },
    Home {
        what: "tokio::time",
        modules: &["clock"],
        because: "time is asked of a Clock, so that a test can turn it back",
    },
    Home {
        what: "time",
        modules: &["clock"],
        because: "one place reads and writes dates",
    },
    Home {
        what: "hyper",
        modules: &["http", "serve", "providers", "aws", "config", "cli"],
        because: "http and serve speak HTTP; the others name its types only (Uri, Method, headers)",
    },
    Home {
        what: "hyper::client",
        modules: &["http"],
        because: "there is one HTTP client, and it bounds everything",
    },
    Home {
        what: "hyper::server",
        modules: &["serve"],
        because: "there is one HTTP server, and it bounds everything",
    },
    Home {
        what: "rustls",
        modules: &["http"],
        because: "TLS is a matter of the transport",
    },
    Home {
        what: "tokio_rustls",
        modules: &["http"],
        because: "TLS is a matter of the transport",
    },
    Home {
        what: "aws_lc_rs",
        modules: &["aws", "challenge", "authz", "serve::imds", "state"],
        because: "signatures, one-time codes, tokens, and the marks and checksums of what is kept \
                  are all the cryptography beside TLS",
    },
    Home {
        what: "roxmltree",
        modules: &["aws"],
        because: "STS alone speaks XML",
    },
    Home {
        what: "arc_swap",
        modules: &["refresh", "authz", "serve"],
        because: "snapshots, valid tokens and terms are what requests read without a lock",
    },
    Home {
        what: "backoff",
        modules: &["retry"],
        because: "it is unmaintained, and so one file away from being replaced",
    },
    Home {
        what: "signal_hook",
        modules: &["daemon", "cli"],
        because: "the daemon is told to stop, and `exec` passes on what it is told",
    },
    Home {
        what: "tokio::process",
        modules: &["program", "cli"],
        because: "what credd runs is bounded and ended in one place; `exec` runs the user's own",
    },
    Home {
        what: "toml",
        modules: &["config"],
        because: "the config is read once, into types that cannot be wrong",
    },
    Home {
        what: "clap",
        modules: &["cli"],
        because: "only what a person types is parsed from arguments",
    },
    Home {
        what: "println!",
        modules: &["cli::output"],
        because: OUTPUT,
    },
    Home {
        what: "print!",
        modules: &["cli::output"],
        because: OUTPUT,
    },
    Home {
        what: "eprintln!",
        modules: &["cli::output"],
        because: OUTPUT,
    },
    Home {
        what: "eprint!",
        modules: &["cli::output"],
        because: OUTPUT,
    },
    Home {
        what: "stdout()",
        modules: &["cli::output"],
        because: OUTPUT,
    },
    Home {
        what: "stderr()",
        modules: &["cli::output"],
        because: OUTPUT,
    },
];

const OUTPUT: &str = "one place writes for people, so that one place can be read for secrets";

#[test]
fn every_module_keeps_to_its_layer() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(root, &root.join("src"), &mut files)?;
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    assert!(files.len() > 20, "found only {} files", files.len());
    let violations = violations(&files);
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
    Ok(())
}

/// Every source file below `folder`, by its path from `root`.
#[expect(
    clippy::disallowed_methods,
    reason = "reads the project's own source, not what a user names"
)]
fn collect(
    root: &Path,
    folder: &Path,
    files: &mut Vec<(String, String)>,
) -> Result<(), Box<dyn Error>> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root)?.display().to_string();
            files.push((name, std::fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

/// What is wrong with these (path, text) pairs, of which `src/lib.rs` must be one.
fn violations(files: &[(&str, &str)]) -> Vec<String> {
    let map = files
        .iter()
        .find(|(path, _)| *path == "src/lib.rs")
        .map_or_else(BTreeMap::new, |(_, text)| layers(text));
    let mut violations = Vec::new();
    for (path, text) in files {
        let file = File::read(path, text);
        let top = file.module.first().map(String::as_str);
        if let Some(top) = top.filter(|top| *top != MAIN && !map.contains_key(top)) {
            violations.push(format!("{path}: `{top}` is not on the map"));
            continue;
        }
        violations.extend(file.hidden_branches());
        for mention in file.mentions() {
            violations.extend(file.misplaced(&mention, &map));
            violations.extend(file.away_from_home(&mention));
        }
    }
    violations.sort();
    violations.dedup();
    violations
}

/// The number of each top-level module's group, counted from the top. Anything but a declaration
/// and its attributes divides groups.
fn layers(map: &str) -> BTreeMap<&str, usize> {
    let (mut layers, mut group) = (BTreeMap::new(), 0);
    for line in map.lines().map(str::trim) {
        let declared = line.strip_suffix(';').and_then(|line| {
            let visible = line.split_once(" mod ").map(|(_, name)| name);
            line.strip_prefix("mod ").or(visible)
        });
        match declared {
            Some(name) => _ = layers.insert(name, group),
            None if line.starts_with("#[") => {}
            None => group += 1,
        }
    }
    layers
}

/// `src/main.rs`, which stands above every layer.
const MAIN: &str = "main";

struct File<'text> {
    path: &'text str,
    module: Vec<String>,
    is_test: bool,
    tokens: Vec<Token<'text>>,
}

/// A path somewhere in a file.
#[derive(Clone)]
struct Mention<'text> {
    segments: Vec<&'text str>,
    /// The module that it stands in, inline ones included.
    module: Vec<String>,
    line: usize,
    is_test: bool,
    is_method: bool,
    followed_by: Option<&'text str>,
}

impl<'text> File<'text> {
    fn read(path: &'text str, text: &'text str) -> Self {
        let module: Vec<_> = path
            .trim_start_matches("src/")
            .trim_end_matches(".rs")
            .split('/')
            .filter(|part| !["mod", "lib"].contains(part))
            .map(str::to_owned)
            .collect();
        Self {
            path,
            is_test: module.last().is_some_and(|last| last == "tests"),
            module,
            tokens: tokens(text),
        }
    }

    fn text(&self, index: usize) -> Option<&'text str> {
        self.tokens.get(index).map(|token| token.text)
    }

    fn texts_are(&self, start: usize, texts: &[&str]) -> bool {
        texts
            .iter()
            .enumerate()
            .all(|(offset, text)| self.text(start + offset) == Some(text))
    }

    /// Conditions that make the tested program another one than the shipped one.
    fn hidden_branches(&self) -> Vec<String> {
        let is_condition = |index: &usize| {
            matches!(self.text(*index), Some("cfg" | "cfg_attr"))
                && matches!(self.text(index + 1), Some("(" | "!"))
        };
        let mut found = Vec::new();
        for index in (0..self.tokens.len()).filter(is_condition) {
            let end = self.closing(index + 1);
            let asks = |what: &&str| {
                self.tokens[index..end]
                    .iter()
                    .any(|token| token.text == *what)
            };
            let Some(what) = ["test", "debug_assertions"].into_iter().find(asks) else {
                continue;
            };
            if !self.is_test && self.test_module_at(index.saturating_sub(2)).is_none() {
                let Self { path, tokens, .. } = self;
                let line = tokens[index].line;
                found.push(format!(
                    "{path}:{line}: `{what}` as a condition on something other than `mod tests`"
                ));
            }
        }
        found
    }

    /// Past `#[cfg(test)]` at `start` and further attributes: the place of `mod tests`, if that is
    /// what follows.
    fn test_module_at(&self, start: usize) -> Option<usize> {
        if !self.texts_are(start, &["#", "[", "cfg", "(", "test", ")", "]"]) {
            return None;
        }
        let mut next = start + 7;
        while self.texts_are(next, &["#", "["]) {
            next = self.closing(next + 1) + 1;
        }
        self.texts_are(next, &["mod", "tests"]).then_some(next)
    }

    /// The place of the bracket that closes the first one at or after `start`.
    fn closing(&self, start: usize) -> usize {
        let mut depth = 0;
        for index in start..self.tokens.len() {
            match self.tokens[index].text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => {
                    depth -= 1;
                    if depth == 0 {
                        return index;
                    }
                }
                _ => {}
            }
        }
        self.tokens.len()
    }

    /// Every path in the file, those of `use` trees written out.
    fn mentions(&self) -> Vec<Mention<'text>> {
        let mut mentions = Vec::new();
        let mut inline: Vec<(String, usize)> = Vec::new();
        let mut test_end = if self.is_test { usize::MAX } else { 0 };
        let mut index = 0;
        while let Some(text) = self.text(index) {
            inline.retain(|(_, end)| *end >= index);
            if let Some(module) = self.test_module_at(index) {
                test_end = test_end.max(self.closing(module));
            }
            if text == "mod" && self.text(index + 2) == Some("{") {
                let name = self.text(index + 1).unwrap_or_default().to_owned();
                inline.push((name, self.closing(index)));
                index += 2;
                continue;
            }
            let inner = inline.iter().map(|(name, _)| name.clone());
            let mention = Mention {
                segments: Vec::new(),
                module: self.module.iter().cloned().chain(inner).collect(),
                line: self.tokens[index].line,
                is_test: index < test_end,
                is_method: index > 0 && self.text(index - 1) == Some("."),
                followed_by: None,
            };
            if text == "use" && self.text(index + 1) != Some("<") {
                index = self.use_tree(index + 1, &mention, &mut mentions);
            } else if is_name(text) {
                index = self.plain_path(index, mention, &mut mentions);
            } else {
                index += 1;
            }
        }
        mentions
    }

    fn plain_path(
        &self,
        start: usize,
        mut mention: Mention<'text>,
        mentions: &mut Vec<Mention<'text>>,
    ) -> usize {
        let mut index = start;
        mention.segments.push(self.tokens[index].text);
        while self.text(index + 1) == Some("::") && self.text(index + 2).is_some_and(is_name) {
            index += 2;
            mention.segments.push(self.tokens[index].text);
        }
        mention.followed_by = self.text(index + 1);
        mentions.push(mention);
        index + 1
    }

    /// Reads one tree of a `use`, below the segments of `above`, and returns where it ends.
    fn use_tree(
        &self,
        start: usize,
        above: &Mention<'text>,
        mentions: &mut Vec<Mention<'text>>,
    ) -> usize {
        let mut mention = above.clone();
        let mut index = start;
        while let Some(text) = self.text(index) {
            match text {
                "::" => {}
                "{" => {
                    while !matches!(self.text(index), None | Some("}")) {
                        index = self.use_tree(index + 1, &mention, mentions);
                    }
                    return index + 1;
                }
                "self" if !above.segments.is_empty() => {}
                "as" => index += 1,
                _ if is_name(text) || text == "*" => {
                    mention.line = self.tokens[index].line;
                    mention.segments.push(text);
                }
                _ => break,
            }
            index += 1;
        }
        if !mention.segments.is_empty() {
            mentions.push(mention);
        }
        index
    }

    /// Says so if the path leads to the same or a higher layer.
    fn misplaced(&self, mention: &Mention<'_>, map: &BTreeMap<&str, usize>) -> Option<String> {
        let target = mention.top_level_module(self.module.first()?)?;
        let own = self.module.first()?.as_str();
        let at = format!("{}:{}", self.path, mention.line);
        let Some(layer) = map.get(target.as_str()) else {
            return Some(format!("{at}: `{target}` is not on the map"));
        };
        let Some(own_layer) = map.get(own) else {
            return None; // main
        };
        let is_below =
            own == target || layer > own_layer || (layer == own_layer && mention.is_test);
        (!is_below).then(|| format!("{at}: `{own}` uses `{target}`, which is not below it"))
    }

    fn away_from_home(&self, mention: &Mention<'_>) -> Vec<String> {
        if mention.is_test {
            return Vec::new();
        }
        let module = self.module.join("::");
        let is_at_home = |home: &&str| -> bool {
            module
                .strip_prefix(home)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        HOMES
            .iter()
            .filter(|home| mention.is_of(home.what) && !home.modules.iter().any(is_at_home))
            .map(|home| {
                let Home {
                    what,
                    modules,
                    because,
                } = home;
                let (path, line) = (self.path, mention.line);
                let homes = modules.join(", ");
                format!("{path}:{line}: `{what}` belongs in {homes}: {because}")
            })
            .collect()
    }
}

impl Mention<'_> {
    /// The module of this crate's top level that the path leads through, if it leads there.
    fn top_level_module(&self, own: &str) -> Option<String> {
        let mut module = match *self.segments.first()? {
            "crate" => Vec::new(),
            "credd" if own == MAIN => Vec::new(),
            "self" | "super" => self.module.clone(),
            _ => return None,
        };
        for segment in &self.segments {
            match *segment {
                "super" => _ = module.pop(),
                "crate" | "credd" | "self" => {}
                segment => module.push(segment.to_owned()),
            }
        }
        module.into_iter().next()
    }

    fn is_of(&self, what: &str) -> bool {
        if let Some(name) = what.strip_suffix('!') {
            return self.segments.last() == Some(&name) && self.followed_by == Some("!");
        }
        if let Some(name) = what.strip_suffix("()") {
            let is_called = self.followed_by == Some("(") && !self.is_method;
            return self.segments.last() == Some(&name) && is_called;
        }
        let mut segments = self.segments.iter();
        !self.is_method && what.split("::").all(|part| segments.next() == Some(&part))
    }
}

#[derive(Clone, Copy)]
struct Token<'text> {
    text: &'text str,
    line: usize,
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
        && !["use", "mod", "pub", "as"].contains(&text)
}

/// Rust's tokens as far as paths need them: names, `::` and single signs. Comments, literals and
/// lifetimes are left out.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let (mut tokens, mut rest, mut line) = (Vec::new(), text, 1);
    while let Some(first) = rest.chars().next() {
        let name = rest
            .find(|other: char| !other.is_alphanumeric() && other != '_')
            .unwrap_or(rest.len());
        let (length, is_token) = if let Some(literal) = literal(rest) {
            (literal, false)
        } else if let Some(comment) = comment(rest) {
            (comment, false)
        } else if first.is_whitespace() {
            (first.len_utf8(), false)
        } else if rest.starts_with("r#") {
            (2, false)
        } else if name > 0 {
            (name, !first.is_ascii_digit())
        } else if rest.starts_with("::") {
            (2, true)
        } else {
            (first.len_utf8(), true)
        };
        if is_token {
            let text = &rest[..length];
            tokens.push(Token { text, line });
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let (mut depth, mut index) = (0, 0);
    while let Some(rest) = text.get(index..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            (depth, index) = (depth + 1, index + 2);
        } else if rest.starts_with("*/") {
            (depth, index) = (depth - 1, index + 2);
            if depth == 0 {
                break;
            }
        } else {
            index += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    Some(index)
}

/// The length of the string, character or lifetime that `text` begins with.
fn literal(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        text.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with(['"', '\'', '#']))
    })?;
    let body = &text[prefix.len()..];
    let hashes = body.len() - body.trim_start_matches('#').len();
    if prefix.ends_with('r') && body[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let length = body[hashes + 1..].find(&end).map(|at| at + end.len());
        return Some(prefix.len() + hashes + 1 + length.unwrap_or(0));
    }
    let quote = body.chars().next().filter(|quote| *quote != '#')?;
    let mut characters = body.char_indices().skip(1);
    let (_, second) = characters.next()?;
    if quote == '\'' && second != '\\' && characters.next().is_none_or(|(_, third)| third != '\'') {
        // A lifetime: its sign goes, and its name with it.
        let name = body[1..].find(|other: char| !other.is_alphanumeric() && other != '_');
        return Some(prefix.len() + 1 + name.unwrap_or(body.len() - 1));
    }
    let mut is_escaped = false;
    for (index, character) in body.char_indices().skip(1) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if character == quote => return Some(prefix.len() + index + 1),
            _ => {}
        }
    }
    Some(text.len())
}

mod the_checker {
    use super::violations;

    const MAP: &str = "//! The map.\n\npub mod cli;\n\n/// Middle.\n#[expect(x)]\npub mod aws;\nmod http;\n// low\npub mod clock;\npub mod os;\n";

    fn found(path: &str, text: &str) -> Vec<String> {
        violations(&[("src/lib.rs", MAP), (path, text)])
    }

    #[test]
    fn accepts_what_leads_down() {
        let text = "
            use crate::clock::{Clock, timeout};
            use crate::{clock, os::files};
            use super::sibling;
            pub(crate) fn f<'a>(x: &'a str) -> crate::os::File { self::g('\"', b'x', \"crate::cli\") }
            // crate::cli /* in a comment */
            /* crate::cli /* nested */ crate::cli */
            const TEXT: &str = r#\"crate::cli \" println!()\"#;
        ";
        assert_eq!(found("src/aws/sts.rs", text), Vec::<String>::new());
    }

    #[test]
    fn catches_an_upward_path_wherever_it_stands() {
        for text in [
            "use crate::cli;",
            "use crate::cli::run;",
            "use crate::{clock, cli::{self, run}};",
            "use crate::{\n    clock::{Clock, timeout},\n    cli as other,\n};",
            "use {std::io, crate::cli};",
            "fn f() { crate::cli::run() }",
            "fn f(x: Option<&crate::cli::Arguments>) {}",
            "use super::super::cli::run;",
            "mod inner { use super::super::super::cli; }",
            "const C: char = '\\''; fn f<'a>() { crate::cli::run::<'a>() }",
            "#[cfg(test)] mod tests {}\nuse crate::cli;",
            "#[cfg(test)] mod tests { use crate::cli; }",
            "macro_rules! m { () => { $crate::cli::run() } }",
        ] {
            let found = found("src/aws/sts.rs", text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains("`aws` uses `cli`"), "{found:?}");
        }
    }

    #[test]
    fn catches_a_sideways_path_except_in_tests() {
        let sideways = "\nuse crate::http::Client;";
        assert_eq!(
            found("src/aws/mod.rs", sideways),
            ["src/aws/mod.rs:2: `aws` uses `http`, which is not below it"]
        );
        assert_eq!(found("src/aws.rs", "use super::http;").len(), 1);
        let in_tests = format!("#[cfg(test)]\nmod tests {{{sideways}\n}}");
        assert_eq!(found("src/aws/mod.rs", &in_tests), Vec::<String>::new());
        assert_eq!(found("src/aws/tests.rs", sideways), Vec::<String>::new());
    }

    #[test]
    fn catches_what_is_not_on_the_map() {
        assert_eq!(
            found("src/extra/mod.rs", ""),
            ["src/extra/mod.rs: `extra` is not on the map"]
        );
        assert_eq!(
            found("src/cli/mod.rs", "use crate::*;"),
            ["src/cli/mod.rs:1: `*` is not on the map"]
        );
        assert_eq!(
            found("src/main.rs", "fn main() { credd::run() }"),
            ["src/main.rs:1: `run` is not on the map"]
        );
        assert_eq!(
            found("src/main.rs", "fn main() { credd::cli::run() }"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn catches_a_crate_or_a_sharp_tool_away_from_home() {
        for text in [
            "use tokio::time::sleep;",
            "use tokio::{net::TcpStream, time};",
            "fn f() { ::tokio::time::sleep() }",
            "fn f() { unsafe { g() } }",
            "fn f() { println!(\"x\") }",
            "fn f() { std::eprintln!(\"x\") }",
            "fn f() { io::stdout().lock() }",
            "#[derive(clap::Parser)] struct Arguments;",
            "use libc;",
        ] {
            let found = found("src/aws/sts.rs", text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains(" belongs in "), "{found:?}");
        }
        for (path, text) in [
            (
                "src/aws/sts.rs",
                "fn f() { command.stdout(Stdio::null()); }",
            ),
            (
                "src/aws/sts.rs",
                "use crate::clock::time; fn f() { a.time::<X>(); b.unsafe_thing() }",
            ),
            ("src/cli/output.rs", "fn f() { println!(\"x\") }"),
            ("src/clock/system.rs", "use tokio::time::sleep;"),
            ("src/os/mod.rs", "fn f() { unsafe { libc::mallopt(1, 1) } }"),
            (
                "src/aws/mod.rs",
                "#[cfg(test)] mod tests { use rustix::process; }",
            ),
        ] {
            assert_eq!(found(path, text), Vec::<String>::new(), "{text}");
        }
        assert_eq!(
            found("src/cli/output_more.rs", "fn f() { println!() }").len(),
            1
        );
    }

    #[test]
    fn catches_a_branch_that_only_tests_take() {
        for text in [
            "#[cfg(test)] use std::io;",
            "#[cfg(any(test, unix))] mod tests {}",
            "#[cfg(test)] pub mod fixtures {}",
            "#[cfg_attr(test, derive(Debug))] struct S;",
            "fn f() { if cfg!(test) {} }",
            "fn f() { if cfg!(debug_assertions) {} }",
        ] {
            let found = found("src/aws/sts.rs", text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains("as a condition"), "{found:?}");
        }
        let accepted =
            "#[cfg(test)]\n#[expect(x, reason = \"y\")]\nmod tests;\n#[cfg(unix)] fn f() {}";
        assert_eq!(found("src/aws/sts.rs", accepted), Vec::<String>::new());
    }
}
