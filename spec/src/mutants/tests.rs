use super::{Mutant, choose, control, judge};
use crate::{
    cli::{self, Catalogue, Console, Exhibit, RunOptions, ScopeInfo, ScopeRun, SimulateOptions},
    report::{CounterexampleSummary, RunReport, Totals, Verdict, progress::Progress, samples},
};
use std::{env::consts::EXE_SUFFIX, fs, net::SocketAddr, path::Path};

fn mutant(name: &str) -> Mutant {
    Mutant {
        name: name.into(),
        description: "d".into(),
        from: "f".into(),
        scope: "one-slot".into(),
        property: "agreement".into(),
        alone: false,
        file: "x.patch".into(),
        changed: vec![],
    }
}

fn report() -> RunReport {
    let scopes = vec![samples::report("one-slot")];
    let (scope, property) = ("one-slot".into(), "agreement".into());
    let counterexamples = vec![CounterexampleSummary { scope, property, steps: 6, files: vec![] }];
    RunReport { totals: Totals::of(&scopes, 1.0), scopes, marks: None, counterexamples, record: None, exit_status: 1 }
}

#[test]
fn only_the_property_that_is_named_refutes_a_mutant() {
    let mut run = report();
    run.scopes[0].properties[0].verdict = Verdict::Violated;
    assert_eq!(judge(&run, &mutant("a")), Ok((6, 4408)));
    let mut misnamed = mutant("a");
    misnamed.property = "agreemnt".into();
    assert!(judge(&run, &misnamed).unwrap_err().contains("nearest is `agreement`"));

    let mut run = report();
    run.scopes[0].properties[1].verdict = Verdict::Violated;
    assert_eq!(
        judge(&run, &mutant("a")).unwrap_err(),
        "survived: refuted by validity only, not by the property that it names"
    );
    let mut run = report();
    assert_eq!(judge(&run, &mutant("a")).unwrap_err(), "survived: its scope was exhausted, and everything holds");
    run.scopes[0].exhausted = false;
    run.scopes[0].why_incomplete = Some("time limit of 180 s".into());
    assert_eq!(judge(&run, &mutant("a")).unwrap_err(), "survived: incomplete, time limit of 180 s");
    run.scopes.clear();
    assert!(judge(&run, &mutant("a")).unwrap_err().contains("no scope `one-slot`"));
}

#[test]
fn mutants_are_chosen_by_name_and_unknown_ones_answered_with_the_nearest() {
    let mutants = [mutant("forgets-promise"), mutant("forgets-vote")];
    assert_eq!(choose(&mutants, &[]).unwrap().len(), 2);
    let chosen = choose(&mutants, &["spec/mutants/forgets-vote.patch".into()]).unwrap();
    assert_eq!(chosen, [&mutants[1]]);
    let error = choose(&mutants, &["forgets-promis".into()]).unwrap_err();
    assert!(error.starts_with("there is no mutant `forgets-promis`; nearest is `forgets-promise`"), "{error}");
}

#[test]
fn programs_are_checked_without_a_mutant_whatever_scopes_mutants_name() {
    let small = ["first", "one-slot", "unnamed"];
    let mut large = mutant("b");
    large.scope = "large".into();
    assert_eq!(control(&[&large], &small), Some(vec!["first"]));
    assert_eq!(control(&[&mutant("a"), &large, &mutant("c")], &small), Some(vec!["first", "one-slot"]));
    assert_eq!(control(&[&large], &[]), None);
}

const RIGHT: &str = "pub fn right() -> bool { true }\n";
const SEEN: &str = "pub fn seen_reduced() -> bool { true }\n";
const FIXED: &str = "pub const FIXED: bool = true;\n";

/// A workspace whose check asks its "model" two functions and a constant.
fn toy(root: &Path) {
    let put = |file: &str, text: &str| {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("violated.json", &toy_report(Verdict::Violated));
    put("holds.json", &toy_report(Verdict::Holds));
    put("Cargo.toml", "[workspace]\nmembers = ['spec']\nresolver = '3'\n");
    put("Cargo.lock", "version = 4\n\n[[package]]\nname = \"paxos-spec\"\nversion = \"0.1.0\"\n");
    let check = "[[bin]]\nname = 'check'\npath = 'src/main.rs'\n";
    put("spec/Cargo.toml", &format!("[package]\nname = 'paxos-spec'\nversion = '0.1.0'\nedition = '2024'\n{check}"));
    put("spec/src/model.rs", &format!("{RIGHT}{SEEN}{FIXED}"));
    put(
        "spec/src/main.rs",
        r#"mod model;
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    assert_eq!(arguments[1..3], ["one-slot", "--json"]);
    let reduced = !arguments.contains(&"--no-reductions".to_string());
    let is_there = |file: &str| std::path::Path::new(file).exists();
    let joined = include_str!("model.rs").contains("match");
    let wrong = is_there("wrong") || joined && is_there("wrong-if-joined");
    let found = wrong || !(model::right() && model::FIXED) && (model::seen_reduced() || !reduced);
    std::fs::copy(if found { "violated.json" } else { "holds.json" }, &arguments[3]).unwrap();
    std::process::exit(i32::from(found));
}
"#,
    );
    put("spec/README.md", "# Spec\n<!-- mutants:begin -->\n<!-- mutants:end -->\n");
    let patch = |name: &str, from: [&str; 3], to: [&str; 3]| {
        let header = "Mutant: wrong\nFrom: here\nScope: one-slot\nProperty: agreement\n\n";
        let diff = "--- a/spec/src/model.rs\n+++ b/spec/src/model.rs\n@@ -1,3 +1,3 @@\n";
        let lines: String = from.map(|line| format!("-{line}")).concat() + &to.map(|line| format!("+{line}")).concat();
        put(&format!("spec/mutants/{name}.patch"), &format!("{header}{diff}{lines}"));
    };
    let model = [RIGHT, SEEN, FIXED];
    let wrong = |to: &'static str| RIGHT.replace("true", to);
    patch("killed", model, [&wrong("false"), SEEN, FIXED]);
    patch("idle", model, [&wrong("!false"), SEEN, FIXED]);
    patch("masked", model, [&wrong("false"), &SEEN.replace("true", "false"), FIXED]);
    patch("garbled", model, [&wrong("fals"), SEEN, FIXED]);
    patch("fixed", model, [RIGHT, SEEN, &FIXED.replace("true", "false")]);
    patch("stale", [&RIGHT.replace("right", "left"), SEEN, FIXED], model);
}

fn toy_report(verdict: Verdict) -> String {
    let mut run = report();
    run.scopes[0].properties[0].verdict = verdict;
    run.exit_status = u8::from(verdict == Verdict::Violated);
    serde_json::to_string(&run).unwrap()
}

struct Scopes;

impl Catalogue for Scopes {
    fn scopes(&self) -> Vec<ScopeInfo> {
        let (name, description) = ("one-slot".into(), "d".into());
        vec![ScopeInfo { name, description, default: true, small: true }]
    }
    fn run(&self, _: &str, _: &RunOptions, _: &mut dyn FnMut(Progress)) -> ScopeRun {
        unreachable!("mutants run in a process of their own")
    }
    fn simulate(&self, _: &str, _: &SimulateOptions, _: &mut dyn FnMut(Progress)) -> ScopeRun {
        unreachable!("mutants run in a process of their own")
    }
    fn properties(&self, _: &str, _: bool) -> Vec<String> {
        vec!["agreement".into()]
    }

    fn begin(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn explore(&self, _: &str, _: SocketAddr) -> Result<(), String> {
        unreachable!("mutants run in a process of their own")
    }
    fn exhibits(&self) -> Vec<Exhibit> {
        vec![]
    }
    fn marks(&self) -> Vec<(String, String, bool)> {
        vec![]
    }
}

/// The names of what is in a directory.
fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn mutants(root: &Path, arguments: &[&str]) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console { root, out: &mut out, err: &mut err, out_is_terminal: false, err_is_terminal: false };
    let arguments = ["check", "mutants"].iter().chain(arguments).map(Into::into);
    let status = cli::run(&Scopes, arguments, &mut console);
    (status, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn a_toy_workspace_goes_through_the_whole_run() {
    let root = tempfile::tempdir().unwrap();
    toy(root.path());
    let (status, out, err) = mutants(root.path(), &[]);
    assert_eq!(status, 1, "{out}{err}");
    for line in [
        "garbled: FAILED: the check does not build: spec/src/model.rs:1:26: error[E0425]",
        "idle: FAILED: survived: its scope was exhausted",
        "masked: FAILED: survived: its scope was exhausted",
        "stale: FAILED: spec/mutants/stale.patch does not apply: error: ",
        "2 of 6 refuted by the property that they name",
    ] {
        assert!(out.contains(line), "`{line}` is not in {out}");
    }
    for line in [
        "4 mutants are not one program: the check does not build: spec/src/model.rs:",
        "2 mutants are not one program: the check does not build: spec/src/model.rs:",
        "2 mutants are one program, built in ",
        "killed: refuted by agreement in 6 steps",
        "fixed: refuted by agreement in 6 steps",
    ] {
        assert!(err.contains(line), "`{line}` is not in {err}");
    }
    let copied = || fs::read_to_string(root.path().join("target/mutants/work/spec/src/model.rs")).unwrap();
    assert_eq!(copied(), format!("{RIGHT}{SEEN}{FIXED}"), "the copy is restored");
    let checks = || files(&root.path().join("target/mutants/checks"));
    assert!(checks().len() > 2, "{:?}", checks());
    assert_eq!(mutants(root.path(), &["killed"]).0, 0);
    assert_eq!(checks(), [format!("check-1{EXE_SUFFIX}"), "report-1.json".into()], "the others are of the run before");

    assert_eq!(mutants(root.path(), &["--write"]).0, 1);
    let readme = || fs::read_to_string(root.path().join("spec/README.md")).unwrap();
    assert!(!readme().contains("killed"), "nothing is written while one survives");
    for name in ["idle", "masked", "garbled", "stale"] {
        fs::remove_file(root.path().join(format!("spec/mutants/{name}.patch"))).unwrap();
    }
    assert_eq!(mutants(root.path(), &["--write"]).0, 0);
    assert!(readme().contains("| `killed` | wrong | `agreement` | `one-slot` | 6 | 4,408 | 4,408 |"), "{}", readme());

    // A joined program has to find nothing wrong without a mutant.
    toy(root.path());
    fs::write(root.path().join("wrong-if-joined"), "").unwrap();
    let (_, _, err) = mutants(root.path(), &["killed", "masked"]);
    assert!(err.contains("2 mutants are not one program: without a mutant, `check one-slot` ends with 1"), "{err}");
    assert!(err.contains("killed: refuted by agreement in 6 steps"), "{err}");

    fs::write(root.path().join("spec/mutants/malformed.patch"), "Mutant: x\n--- a\n").unwrap();
    let (status, _, err) = mutants(root.path(), &[]);
    assert_eq!((status, err.lines().count()), (2, 1), "{err}");
    assert!(err.starts_with("check: spec/mutants/malformed.patch: no `From:` before the diff"), "{err}");
}

#[test]
fn what_is_no_mutants_fault_ends_the_run_at_once() {
    let root = tempfile::tempdir().unwrap();
    let put = |file: &str, text: &str| fs::write(root.path().join(file), text).unwrap();
    let ended = |names: &[&str], expected: &str| {
        let (status, out, err) = mutants(root.path(), names);
        assert_eq!((status, out.as_str(), err.lines().count()), (2, "", 1), "{out}{err}");
        assert!(err.starts_with(&format!("check: no mutant is at fault: {expected}")), "{err}");
    };
    toy(root.path());
    put("wrong", "");
    ended(&["killed", "idle"], "without a mutant, `check one-slot` ends with 1");
    fs::remove_file(root.path().join("wrong")).unwrap();
    put("holds.json", &toy_report(Verdict::Violated));
    ended(&["killed", "idle"], "without a mutant, the check's report says 1, but it ended with exit status: 0");
    put("spec/src/main.rs", "fn main() { mod }");
    ended(&["killed", "idle"], "the check does not build: spec/src/main.rs:1:");
    // Nor is that of one which is built by itself.
    ended(&["fixed"], "the check does not build: spec/src/main.rs:1:");
    fs::remove_file(root.path().join("Cargo.lock")).unwrap();
    ended(&["killed", "idle"], "the check does not build: error: ");
}
