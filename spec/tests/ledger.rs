//! What the READMEs name exists, and what exists is named there; their figures are those of the catalogue and of the record.
//!
//! `LEDGER=write cargo test -p paxos-spec --test ledger` writes the table of scopes in `spec/README.md` anew.

use paxos_spec::cli::{Catalogue, ScopeInfo};
use paxos_spec::engine::{DEAD_STAYS_DEAD, NO_PANIC};
use paxos_spec::mutants;
use paxos_spec::record::{self, Record};
use paxos_spec::replay;
use paxos_spec::report::table::thousands;
use paxos_spec::scopes::run::Scopes;
use paxos_spec::scopes::{Scope, alone, catalogue};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const READMES: [&str; 2] = ["README.md", "spec/README.md"];
const SCOPES_BEGIN: &str = "<!-- scopes:begin -->";
const SCOPES_END: &str = "<!-- scopes:end -->";
const REFRESH: &str = "`LEDGER=write cargo test -p paxos-spec --test ledger` writes it anew";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("spec/ lies in the workspace").to_path_buf()
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn ledger() -> String {
    read("spec/README.md")
}

fn set(names: impl IntoIterator<Item = impl Into<String>>) -> BTreeSet<String> {
    names.into_iter().map(Into::into).collect()
}

/// What stands between two lines of `spec/README.md`.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let rest = text.split_once(begin).unwrap_or_else(|| panic!("no {begin} in spec/README.md")).1;
    rest.split_once(end).unwrap_or_else(|| panic!("no {end} in spec/README.md")).0
}

/// The section of `spec/README.md` under a heading, up to the next of the same level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let rest = text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}")).1;
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}

/// The cells of each row of the first table in `text`, without its head.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let table = text.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    table.skip(2).map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// What stands in backquotes, but for blocks of code.
fn quoted(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|part| part.lines().flat_map(|line| line.split('`').skip(1).step_by(2))).collect()
}

/// Lower-case words with hyphens: a scope, a property or a mutant.
fn is_name(word: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    word.contains('-') && word.split('-').all(part)
}

fn scope_names() -> BTreeSet<String> {
    set(Scopes.scopes().into_iter().map(|scope| scope.name))
}

fn mutant_names() -> BTreeSet<String> {
    let files = fs::read_dir(root().join(mutants::DIRECTORY)).expect("the mutants can be listed");
    let names = files.map(|entry| entry.expect("the mutants can be listed").file_name().into_string().expect("UTF-8"));
    names.filter_map(|name| name.strip_suffix(".patch").map(String::from)).collect()
}

/// Every property but the witnesses, which each scope names for itself.
fn properties() -> BTreeSet<String> {
    let mut names = set([DEAD_STAYS_DEAD, NO_PANIC]);
    for scope in Scopes.scopes() {
        names.extend(Scopes.properties(&scope.name, true));
    }
    names
}

fn scope_table(record: &Record) -> String {
    let recorded: BTreeMap<&str, _> =
        record.scopes.iter().chain(&record.larger).map(|scope| (scope.name.as_str(), scope)).collect();
    let mut table = String::from("\n| scope | what it is for | bounds | run | states | transitions |\n");
    table += "|---|---|---|---|---:|---:|\n";
    let of_replicas = catalogue::scopes();
    let bounds: BTreeMap<&str, String> = of_replicas.iter().map(|scope| (scope.name, scope.bounds())).collect();
    for ScopeInfo { name, description, default, .. } in Scopes.scopes() {
        let without_replicas = || alone::find(&name).map_or("", |alone| alone.bounds);
        let bounds = bounds.get(name.as_str()).map_or_else(without_replicas, String::as_str);
        let run = if default { "default" } else { "`--full`" };
        let count = |number: Option<u64>| number.map_or_else(|| "–".into(), thousands);
        let found = recorded.get(name.as_str());
        let states = count(found.map(|counts| counts.unique_states));
        let transitions = count(found.map(|counts| counts.generated_states));
        table += &format!("| `{name}` | {description} | {bounds} | {run} | {states} | {transitions} |\n");
    }
    table
}

#[test]
fn the_table_of_scopes_is_that_of_the_catalogue_and_the_record() {
    let record: Record = serde_json::from_str(&read(record::FILE)).expect("spec/record.json is a record");
    let (text, table) = (ledger(), scope_table(&record));
    let present = between(&text, SCOPES_BEGIN, SCOPES_END);
    if std::env::var_os("LEDGER").is_some_and(|wanted| wanted == "write") {
        let marked = |table: &str| format!("{SCOPES_BEGIN}{table}{SCOPES_END}");
        fs::write(root().join("spec/README.md"), text.replace(&marked(present), &marked(&table)))
            .expect("spec/README.md can be written");
    } else {
        assert!(present == table, "the table of scopes in spec/README.md is out of date; {REFRESH}:\n{table}");
    }
    let default = set(Scopes.scopes().into_iter().filter(|scope| scope.default).map(|scope| scope.name));
    let recorded = set(record.scopes.iter().map(|scope| scope.name.as_str()));
    assert_eq!(default, recorded, "the default scopes are not those of the record; `check --record` writes it anew");
}

#[test]
fn every_property_has_its_row_and_every_row_its_property() {
    let (text, protocol) = (ledger(), read("spec/tla/MultiPaxos.tla"));
    let proof = read("spec/proof/protocol.py") + &read("spec/proof/prove.py");
    let mut named = Vec::new();
    for row in rows(section(&text, "Guarantees")) {
        assert_eq!(row.len(), 4, "{row:?}");
        for name in quoted(row[3]) {
            let defines = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with("=="));
            assert!(protocol.lines().any(defines), "{name} is not defined in MultiPaxos.tla");
            assert!(proof.contains(name), "{name} is not among what is proved");
        }
        assert!(row[0].ends_with('.'), "a guarantee is one sentence: {}", row[0]);
        named.extend(quoted(row[1]).into_iter().map(String::from));
    }
    assert_eq!(set(named.clone()), properties(), "the table of guarantees");
    assert_eq!(named.len(), properties().len(), "a property has one row");
}

/// The scopes that the third column of the table of guarantees speaks of.
fn scopes_of(judged_in: &str) -> BTreeSet<String> {
    let those = |which: &dyn Fn(&Scope) -> bool| set(catalogue::scopes().iter().filter(|s| which(s)).map(|s| s.name));
    let first = judged_in.split([',', ':', ';']).next().unwrap_or_default();
    let spoken_of = match first {
        "every scope" => those(&|_| true),
        "scopes with clients" => those(&|scope| !scope.judge().scripts.is_empty()),
        "scopes with local reads" => those(&|scope| scope.judge().reads_locally),
        "scopes with snapshots" => those(&|scope| scope.options.snapshot_every > 0),
        "scopes with a script" => those(&|scope| !scope.prefix.is_empty()),
        "scopes whose bounds below say so" => those(&|scope| scope.bounds().contains("progress judged")),
        name if name.starts_with('`') => BTreeSet::new(),
        other => panic!("which scopes are: {other}"),
    };
    let known = scope_names();
    let named = set(quoted(judged_in).into_iter().filter(|word| known.contains(*word)));
    if first == "scopes with local reads" {
        assert_eq!(named, spoken_of, "{judged_in}");
    }
    spoken_of.into_iter().chain(named).collect()
}

#[test]
fn a_property_is_judged_where_its_row_says() {
    let text = ledger();
    let scopes = Scopes.scopes();
    let replicas = set(catalogue::scopes().iter().map(|scope| scope.name));
    for row in rows(section(&text, "Guarantees")) {
        let spoken_of = scopes_of(row[2]);
        for name in quoted(row[1]) {
            let judging = scopes.iter().filter(|scope| Scopes.properties(&scope.name, true).iter().any(|p| p == name));
            let judging = set(judging.map(|scope| scope.name.as_str()));
            // A rule on steps is asked in every scope, and its row says where there is something to break it: of these this asks only for
            // the names.
            let exact = !replicas.is_subset(&judging);
            let missing: Vec<_> = spoken_of.difference(&judging).collect();
            assert!(missing.is_empty(), "{name} is not judged in {missing:?}");
            assert!(!exact || judging == spoken_of, "{name} is judged in {judging:?}");
        }
    }
}

#[test]
fn every_rule_of_a_replay_has_its_row() {
    let text = ledger();
    let named =
        rows(section(&text, "What ran")).into_iter().flat_map(|row| quoted(row[1]).into_iter().map(String::from));
    let named: Vec<String> = named.collect();
    assert_eq!(set(named.clone()), set(replay::names()), "the table of what must hold of what ran");
    assert_eq!(named.len(), replay::names().len(), "a rule has one row");
}

#[test]
fn every_name_in_backquotes_exists() {
    let packages = set(["paxos-model", "paxos-spec"]);
    let known = [scope_names(), mutant_names(), properties(), packages, set(replay::names())];
    let known: BTreeSet<String> = known.into_iter().flatten().collect();
    for file in READMES {
        let text = read(file);
        let unknown: Vec<&str> =
            quoted(&text).into_iter().filter(|word| is_name(word) && !known.contains(*word)).collect();
        assert!(unknown.is_empty(), "{file} names what is no scope, property or mutant: {unknown:?}");
    }
}

/// Of the exhibit, too: its scopes, and its tests, which are named by sentences.
#[test]
fn every_name_in_the_review_exists() {
    let exhibit: String =
        ["actor", "mod", "tests", "trace"].map(|file| read(&format!("spec/src/original/{file}.rs"))).concat();
    let known: BTreeSet<String> = [scope_names(), mutant_names(), properties()].into_iter().flatten().collect();
    for word in quoted(&read("spec/review.md")).into_iter().filter(|word| !word.starts_with('_')) {
        if is_name(word) {
            assert!(known.contains(word) || exhibit.contains(&format!("\"{word}\"")), "there is no {word}");
        } else if word.matches('_').count() > 2 && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            assert!(exhibit.contains(&format!("fn {word}()")), "there is no test {word}");
        }
    }
}

#[test]
fn every_file_in_backquotes_exists() {
    for file in READMES {
        let below = root().join(Path::new(file).parent().expect("a file has a directory"));
        for word in quoted(&read(file)) {
            let is_file = word.ends_with('/') || [".rs", ".md", ".json"].iter().any(|end| word.ends_with(end));
            let left_behind = word.starts_with("target/");
            if is_file && !left_behind && !word.contains(' ') {
                assert!(root().join(word).exists() || below.join(word).exists(), "{file}: there is no {word}");
            }
        }
    }
}

#[test]
fn the_mutants_are_counted_right_and_each_has_its_row() {
    let names = mutant_names();
    for file in READMES {
        let text = read(file);
        let words: Vec<&str> = text.split_whitespace().collect();
        for pair in words.windows(2).filter(|pair| pair[1].starts_with("mutants")) {
            if let Ok(count) = pair[0].parse::<usize>() {
                assert_eq!(count, names.len(), "{file}: {} {}", pair[0], pair[1]);
            }
        }
    }
    let text = ledger();
    let matrix = between(&text, mutants::BEGIN, mutants::END);
    let listed = set(rows(matrix).iter().map(|row| row[0].trim_matches('`')));
    assert_eq!(listed, names, "the kill matrix; `cargo run --bin check -- mutants --write` writes it anew");
}

/// The variants of `Message`, each with the names of its fields, read from the source.
fn messages() -> BTreeMap<String, BTreeSet<String>> {
    let source = read("model/src/replica/message.rs");
    let body = source.split_once("pub enum Message<").expect("message.rs has the messages").1;
    let body = body.split_once("{\n").expect("it opens").1.split_once("\n}").expect("it closes").0;
    let variants = body.lines().map(str::trim).filter(|line| line.starts_with(char::is_uppercase));
    let parsed = variants.map(|line| {
        let (name, fields) = line.split_once(" { ").unwrap_or_else(|| panic!("a message on one line: {line}"));
        // A type may hold a comma, too; what follows it there has no colon.
        (name.to_string(), set(fields.split(", ").filter_map(|field| Some(field.split_once(": ")?.0))))
    });
    parsed.collect()
}

#[test]
fn the_table_of_messages_has_every_message_with_what_it_carries() {
    let text = ledger();
    let mut listed = BTreeMap::new();
    for row in rows(section(&text, "Messages")) {
        assert_eq!(row.len(), 6, "{row:?}");
        listed.insert(row[0].trim_matches('`').to_string(), set(quoted(row[3])));
    }
    assert_eq!(listed, messages());
}

#[test]
fn every_term_of_the_glossary_is_used_in_the_model() {
    let text = ledger();
    let mut sources = String::new();
    let mut pending = vec![root().join("model/src")];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(path).expect("model/src").map(|entry| entry.expect("an entry").path()));
        } else {
            sources += &fs::read_to_string(path).expect("a source").to_lowercase();
        }
    }
    let lines: Vec<&str> = section(&text, "Glossary").lines().filter(|line| line.starts_with("- **")).collect();
    assert!(lines.len() > 20, "the glossary is a list of terms in bold");
    for term in lines.iter().flat_map(|line| line.split("**").skip(1).step_by(2)) {
        assert!(sources.contains(&term.to_lowercase()), "`{term}` of the glossary does not occur in model/src");
    }
}

#[test]
fn every_command_of_the_readmes_exists() {
    let names: BTreeSet<String> = [scope_names(), mutant_names()].into_iter().flatten().collect();
    for file in READMES {
        let text = read(file);
        let blocks = text.split("```").skip(1).step_by(2).flat_map(str::lines);
        for line in blocks.chain(quoted(&text)) {
            let command = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = command.split_whitespace().skip_while(|word| word.contains('=')).collect();
            match words.as_slice() {
                ["cargo", "run", "--bin", "check"] => {}
                ["cargo", "run", "--bin", "check", "--", rest @ ..] => check_takes(rest, &names, line),
                ["cargo", "run", "--bin", name, ..] => {
                    assert!(root().join(format!("src/bin/{name}.rs")).exists(), "{file}: {line}");
                }
                ["cargo", "run", "-p", package, "--example", name] => {
                    let directory = package.trim_start_matches("paxos-");
                    assert!(root().join(format!("{directory}/examples/{name}.rs")).exists(), "{file}: {line}");
                }
                ["cargo", "run", "--release", "--example", name] => {
                    let is = |path: String| root().join(path).exists();
                    let exists = is(format!("examples/{name}.rs")) || is(format!("examples/{name}/main.rs"));
                    assert!(exists, "{file}: {line}");
                }
                ["cargo", "bench", "-p", "paxos-spec", "--bench", name] => {
                    assert!(root().join(format!("spec/benches/{name}.rs")).exists(), "{file}: {line}");
                }
                ["cargo", "test", ..] => {}
                ["cargo", ..] => panic!("{file}: `{line}` is not known to this test"),
                _ => {}
            }
        }
    }
}

/// Panics unless `check` knows these arguments: a subcommand, options, names. Capitals stand for any.
fn check_takes(arguments: &[&str], names: &BTreeSet<String>, line: &str) {
    let subcommand = arguments.first().filter(|first| paxos_spec::cli::SUBCOMMANDS.contains(first));
    let output = Command::new(env!("CARGO_BIN_EXE_check")).args(subcommand).arg("--help").output().expect("check runs");
    assert!(output.status.success(), "`{line}`: {}", String::from_utf8_lossy(&output.stderr));
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let rest = &arguments[usize::from(subcommand.is_some())..];
    for (index, word) in rest.iter().enumerate() {
        let is_value = index > 0 && help.contains(&format!("{} <", rest[index - 1]));
        // The others take names of scopes and mutants, this one files.
        let any = subcommand == Some(&"replay") || word.chars().all(|c| c.is_uppercase() || c == '…');
        let known = if word.starts_with('-') { help.contains(*word) } else { is_value || any || names.contains(*word) };
        assert!(known, "`{word}` of `{line}` does not exist");
    }
}
