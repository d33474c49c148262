use super::{Catalogue, Console, Exhibit, RunOptions, SUBCOMMANDS, ScopeInfo, ScopeRun, SimulateOptions, run};
use crate::report::{RunReport, Verdict, progress::Progress, samples};
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Mutex,
};

/// Three scopes in which everything holds, unless a test says otherwise.
struct Fake {
    verdict: Mutex<Verdict>,
    exhausted: Mutex<bool>,
    marks: Mutex<bool>,
    begins: Mutex<bool>,
    asked: Mutex<Vec<(String, RunOptions)>>,
}

impl Fake {
    fn new() -> Fake {
        let asked = Mutex::new(Vec::new());
        Fake {
            verdict: Mutex::new(Verdict::Holds),
            exhausted: Mutex::new(true),
            marks: Mutex::new(true),
            begins: Mutex::new(true),
            asked,
        }
    }

    fn scope(&self, name: &str) -> ScopeRun {
        let mut report = samples::report(name);
        report.exhausted = *self.exhausted.lock().unwrap();
        report.why_incomplete = (!report.exhausted).then(|| "time limit of 1 s".into());
        report.properties[1].name = "promises-kept".into();
        report.properties[1].verdict = *self.verdict.lock().unwrap();
        let mut example = samples::counterexample();
        example.scope = name.into();
        let violated = *self.verdict.lock().unwrap() == Verdict::Violated;
        ScopeRun { report, counterexamples: if violated { vec![example] } else { vec![] } }
    }

    fn names_run(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(name, _)| name.clone()).collect()
    }
}

impl Catalogue for Fake {
    fn scopes(&self) -> Vec<ScopeInfo> {
        let scope = |name: &str, default| {
            let description = format!("what {name} is for");
            ScopeInfo { name: name.into(), description, default, small: false }
        };
        vec![scope("one-slot", true), scope("two-slots", true), scope("two-slots-larger", false)]
    }

    fn run(&self, name: &str, options: &RunOptions, progress: &mut dyn FnMut(Progress)) -> ScopeRun {
        self.asked.lock().unwrap().push((name.into(), options.clone()));
        progress(Progress { seconds: 11.0, ..Progress::default() });
        self.scope(name)
    }

    fn simulate(&self, name: &str, _: &SimulateOptions, _: &mut dyn FnMut(Progress)) -> ScopeRun {
        let mut run = self.scope(name);
        run.report.exhausted = false;
        run
    }

    fn properties(&self, _: &str, reductions: bool) -> Vec<String> {
        let judged = if reductions { &["agreement", "dead-stays-dead"][..] } else { &["agreement"] };
        judged.iter().map(|name| (*name).into()).collect()
    }

    fn begin(&self, _: &str) -> Result<(), String> {
        if *self.begins.lock().unwrap() { Ok(()) } else { Err("beginning: client 3 has no request in flight".into()) }
    }

    fn explore(&self, _: &str, _: SocketAddr) -> Result<(), String> {
        Ok(())
    }

    fn exhibits(&self) -> Vec<Exhibit> {
        vec![Exhibit { scope: "original".into(), property: "promises-kept".into(), claim: "the original".into() }]
    }

    fn marks(&self) -> Vec<(String, String, bool)> {
        vec![("HoleFilled".into(), "a hole is filled".into(), *self.marks.lock().unwrap())]
    }
}

fn check_in(root: &Path, fake: &Fake, arguments: &[&str]) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console { root, out: &mut out, err: &mut err, out_is_terminal: false, err_is_terminal: false };
    let arguments = std::iter::once("check").chain(arguments.iter().copied()).map(Into::into);
    let status = run(fake, arguments, &mut console);
    (status, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn check(fake: &Fake, arguments: &[&str]) -> (u8, String, String) {
    check_in(tempfile::tempdir().unwrap().path(), fake, arguments)
}

/// The arguments are refused with one line that says all of `expected`, and nothing runs.
#[track_caller]
fn refused(arguments: &[&str], expected: &[&str]) {
    let fake = Fake::new();
    let (status, out, err) = check(&fake, arguments);
    assert_eq!((status, out.as_str()), (2, ""), "{arguments:?}: {err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.starts_with("check: "), "{err}");
    for part in expected {
        assert!(err.contains(part), "`{part}` is not in {err}");
    }
    assert!(fake.names_run().is_empty());
}

#[test]
fn which_scopes_run() {
    for (arguments, expected) in [
        (&[][..], &["one-slot", "two-slots"][..]),
        (&["--full"], &["one-slot", "two-slots", "two-slots-larger"]),
        (&["two-slots-larger", "one-slot", "one-slot"], &["one-slot", "two-slots-larger"]),
        (&["--list"], &[]),
    ] {
        let fake = Fake::new();
        assert_eq!(check(&fake, arguments).0, 0, "{arguments:?}");
        let mut run = fake.names_run();
        run.sort();
        assert_eq!(run, expected, "{arguments:?}");
    }
    let list = check(&Fake::new(), &["--list"]).1;
    assert!(list.contains("two-slots-larger  --full   what two-slots-larger is for"), "{list}");
}

#[test]
fn options_reach_the_engine() {
    let fake = Fake::new();
    check(
        &fake,
        &["one-slot", "--threads", "3", "--seconds", "5", "--memory-mib", "100", "--no-reductions", "--salt", "9"],
    );
    check(&fake, &["two-slots", "--property", "dead-stays-dead"]);
    let expected = RunOptions {
        threads: 3,
        seconds: Some(5),
        memory_mib: Some(100),
        reductions: false,
        salt: 9,
        ..RunOptions::default()
    };
    let asked = fake.asked.lock().unwrap();
    assert_eq!(asked[0], ("one-slot".to_string(), expected));
    assert_eq!((asked[1].0.as_str(), asked[1].1.property.as_deref()), ("two-slots", Some("dead-stays-dead")));
    assert_eq!(asked.len(), 2);
}

#[test]
fn no_run_is_without_limits() {
    let limits = |arguments: &[&str]| {
        let fake = Fake::new();
        check(&fake, arguments);
        let asked = fake.asked.lock().unwrap();
        asked.iter().map(|(_, options)| (options.seconds, options.memory_mib)).collect::<Vec<_>>()
    };
    assert_eq!(limits(&[]), [(Some(300), Some(6144)); 2]);
    assert_eq!(limits(&["--full"]), [(Some(300), Some(6144)), (Some(300), Some(6144)), (Some(900), Some(12288))]);
    assert_eq!(limits(&["two-slots-larger"]), [(Some(900), Some(12288))]);
    assert_eq!(limits(&["--seconds", "7"]), [(Some(7), Some(6144)); 2]);
    assert_eq!(
        limits(&["--full", "--memory-mib", "8"]),
        [(Some(300), Some(8)), (Some(300), Some(8)), (Some(900), Some(8))]
    );

    let fake = Fake::new();
    *fake.exhausted.lock().unwrap() = false;
    let (status, out, _) = check(&fake, &[]);
    assert_eq!(status, 2);
    assert!(out.contains("INCOMPLETE: time limit of 1 s"), "{out}");
}

#[test]
fn the_exit_status_says_what_came_of_it() {
    let status = |verdict, exhausted, arguments: &[&str]| {
        let fake = Fake::new();
        *fake.verdict.lock().unwrap() = verdict;
        *fake.exhausted.lock().unwrap() = exhausted;
        check(&fake, arguments).0
    };
    assert_eq!(status(Verdict::Holds, true, &[]), 0);
    assert_eq!(status(Verdict::Violated, true, &[]), 1);
    assert_eq!(status(Verdict::Violated, false, &[]), 1, "a violation counts wherever the run ended");
    assert_eq!(status(Verdict::NotWitnessed, true, &[]), 1);
    assert_eq!(status(Verdict::NotWitnessed, false, &[]), 2);
    assert_eq!(status(Verdict::Holds, false, &[]), 2, "what is not exhausted is no pass");
    assert_eq!(status(Verdict::Incomplete, true, &[]), 2);
    assert_eq!(status(Verdict::Incomplete, true, &["simulate", "one-slot"]), 0);
    assert_eq!(status(Verdict::Violated, true, &["simulate", "one-slot"]), 1);
    assert_eq!(status(Verdict::Violated, true, &["original"]), 0);
    assert_eq!(status(Verdict::Holds, true, &["original"]), 1);
}

#[test]
fn a_mark_that_no_default_scope_reached_fails_every_run_of_them_all() {
    let fake = Fake::new();
    *fake.marks.lock().unwrap() = false;
    let (status, out, _) = check(&fake, &[]);
    assert_eq!(status, 1);
    assert!(out.contains("not reached: HoleFilled: a hole is filled"), "{out}");
    assert_eq!(check(&fake, &["one-slot"]).0, 0);
    assert_eq!(check(&fake, &["--full"]).0, 1);
    *fake.exhausted.lock().unwrap() = false;
    assert_eq!(check(&fake, &[]).0, 2);
}

#[test]
fn mistakes_are_answered_in_one_line() {
    refused(&["one-slto"], &["no scope `one-slto`", "nearest", "`one-slot`", "--list"]);
    refused(&["one-slot", "--property", "agreemnt"], &["no property `agreemnt`", "`agreement`", "spec/README.md"]);
    refused(&["one-slot", "--property", "dead-stays-dead", "--no-reductions"], &["no property `dead-stays-dead`"]);
    refused(&["--property", "agreement"], &["<SCOPE>"]);
    refused(&["one-slot", "--property", "agreement", "--verify"], &["[SCOPE]...", "cannot be used with", "--verify"]);
    refused(&["explor"], &["`explore`"]);
    refused(&["one-slot", "explore"], &["`explore` is a subcommand: give it first"]);
    refused(&["explore", "two-slot"], &["`two-slots`"]);
    refused(&["simulate", "two-slot"], &["`two-slots`"]);
    refused(&["explore"], &["<SCOPE>", "--help"]);
    refused(&["--threads", "0"], &["--threads", "1 to 256"]);
    refused(&["--threads", "many"], &["--threads", "1 to 256"]);
    refused(&["--threads", "-1"], &["--threads", "1 to 256"]);
    refused(&["--seconds", "0"], &["--seconds", "at least 1"]);
    refused(&["--memory-mib", "0"], &["--memory-mib", "at least 1"]);
    refused(&["--salt", "x"], &["'x'", "--salt", "give a whole number"]);
    refused(&["--salt", "-1"], &["'-1'", "--salt", "give a whole number"]);
    refused(&["simulate", "one-slot", "--seed", "x"], &["--seed", "give a whole number"]);
    refused(&["simulate", "one-slot", "--seconds", "0"], &["--seconds", "at least 1"]);
    refused(&["simulate", "one-slot", "explore", "one-slot"], &["unexpected argument 'explore'"]);
    refused(&["--thread", "1"], &["'--thread'", "'--threads'"]);
    refused(&["--full", "one-slot"], &["--full", "cannot be used with"]);
    refused(&["--record", "one-slot"], &["--record"]);
    refused(&["--record", "--no-reductions"], &["--record"]);
    refused(&["--threads", "1", "explore", "one-slot"], &["explore"]);
    refused(&["explore", "one-slot", "--address", "nowhere"], &["--address nowhere"]);
    refused(&["mutants", "a", "--write"], &["--write"]);
    refused(&["explore", "one-slot", "--address", "127.0.0.1:99999"], &["--address 127.0.0.1:99999", "port"]);
    refused(&["mutants"], &["spec/mutants"]);
}

#[test]
fn a_mutant_that_cannot_be_meant_is_refused_before_anything_is_built() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("spec/mutants");
    fs::create_dir_all(&directory).unwrap();
    let refused = |text: &str, expected: &str| {
        fs::write(directory.join("bug.patch"), text).unwrap();
        let (status, out, err) = check_in(root.path(), &Fake::new(), &["mutants"]);
        assert_eq!((status, out.as_str(), err.lines().count()), (2, "", 1), "{err}");
        assert!(err.starts_with("check: spec/mutants/bug.patch") && err.contains(expected), "{err}");
        assert!(!root.path().join("target").exists(), "nothing is built");
    };
    let whole = "Mutant: m\nFrom: f\nScope: one-slot\nProperty: agreement\n\n--- a/x\n";
    refused("--- a/x\n+++ b/x\n", "no `Mutant:` before the diff");
    refused("", "no `Mutant:` before the diff");
    refused(&whole.replace("one-slot", "one-slto"), "there is no scope `one-slto`; nearest is `one-slot`");
    refused(&whole.replace("agreement", "agreemnt"), "there is no property `agreemnt`; nearest is `agreement`");
    refused(&whole.replace("--- a/x\n", ""), "no diff follows the header");
    fs::remove_file(directory.join("bug.patch")).unwrap();
    let (status, _, err) = check_in(root.path(), &Fake::new(), &["mutants"]);
    assert_eq!((status, err.as_str()), (2, "check: there is no mutant in spec/mutants\n"));
}

#[test]
fn help_and_version_are_no_mistakes() {
    assert!(check(&Fake::new(), &["--help"]).1.contains("explore"));
    assert_eq!(check(&Fake::new(), &["--version"]).0, 0);
}

#[test]
fn an_unwritable_report_is_refused_before_anything_runs() {
    let root = tempfile::tempdir().unwrap();
    refused(
        &["--json", root.path().join("absent/report.json").to_str().unwrap()],
        &["--json", "absent/report.json", "give"],
    );
    refused(&["--json", root.path().to_str().unwrap()], &["--json", "directory"]);
    refused(&["--json", ""], &["--json"]);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_port_in_use_is_refused_and_a_free_one_is_announced() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    refused(&["explore", "one-slot", "--address", &address], &["cannot listen on", &address, "--address"]);
    let (status, out, _) = check(&Fake::new(), &["explore", "one-slot", "--address", "localhost:0"]);
    assert_eq!(status, 0);
    assert!(
        out.starts_with("Explorer of scope `one-slot`, listening on http://127.0.0.1:")
            || out.contains("http://[::1]:"),
        "{out}"
    );
    assert!(!out.contains(":0/"), "{out}");
}

#[test]
fn a_scope_that_cannot_begin_is_not_explored() {
    let fake = Fake::new();
    *fake.begins.lock().unwrap() = false;
    let (status, out, err) = check(&fake, &["explore", "one-slot", "--address", "127.0.0.1:0"]);
    assert_eq!((status, out.as_str(), err.lines().count()), (1, "", 1), "{err}");
    assert!(err.contains("`one-slot` cannot be explored") && err.contains("no request in flight"), "{err}");
}

#[test]
fn the_report_as_json_agrees_with_the_table() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("report.json");
    let (_, out, _) = check_in(root.path(), &Fake::new(), &["--json", file.to_str().unwrap()]);
    let text = fs::read_to_string(&file).unwrap();
    let report: RunReport = serde_json::from_str(&text).unwrap();
    assert!(out.contains(crate::report::table::table(&report, false).trim_end()), "{out}");

    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for key in [
        "name",
        "bounds",
        "exhausted",
        "unique_states",
        "generated_states",
        "depth",
        "seconds",
        "states_per_second",
        "peak_memory_bytes",
        "properties",
    ] {
        assert!(!json["scopes"][0][key].is_null(), "{key}");
    }
    assert_eq!(json["scopes"][0]["properties"][0], serde_json::json!({"name": "agreement", "verdict": "holds"}));
    assert_eq!(json["exit_status"], 0);
}

#[test]
fn a_violation_is_told_and_written_and_gone_once_it_is_fixed() {
    let root = tempfile::tempdir().unwrap();
    let fake = Fake::new();
    *fake.verdict.lock().unwrap() = Verdict::Violated;
    let (status, out, err) = check_in(root.path(), &fake, &["two-slots"]);
    assert_eq!(status, 1);
    assert!(out.contains("`promises-kept` does not hold in scope `two-slots`.") && out.contains(" 6. node 1 receives"));
    assert!(out.contains("VIOLATED: promises-kept"));
    assert!(err.contains("[1/1] two-slots: 4,408 states, 0.50 s: VIOLATED"), "{err}");
    let file = root.path().join("target/check/two-slots-promises-kept.txt");
    assert!(out.contains(fs::read_to_string(&file).unwrap().trim_end()));

    *fake.verdict.lock().unwrap() = Verdict::Holds;
    check_in(root.path(), &fake, &["two-slots"]);
    assert!(!file.exists());
}

#[test]
fn a_record_is_written_after_a_green_run_only_and_verified() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let copy = tempfile::tempdir().unwrap();
    for file in ["Cargo.toml", "Cargo.lock", "model/Cargo.toml", "spec/Cargo.toml"] {
        let place = copy.path().join(file);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(root.join(file), place).unwrap();
    }
    for package in ["model", "spec"] {
        fs::create_dir(copy.path().join(package).join("src")).unwrap();
    }
    let record = copy.path().join("spec/record.json");
    let fake = Fake::new();
    *fake.exhausted.lock().unwrap() = false;
    let (status, out, _) = check_in(copy.path(), &fake, &["--record"]);
    assert!(status == 2 && !record.exists() && out.contains("not written, since the run is not green"), "{out}");
    *fake.exhausted.lock().unwrap() = true;
    assert_eq!(check_in(copy.path(), &fake, &["--verify"]).0, 1);
    let (status, out, _) = check_in(copy.path(), &fake, &["--record"]);
    assert!(status == 0 && record.exists() && out.contains("matches spec/record.json"), "{out}");
    assert_eq!(check_in(copy.path(), &fake, &["--verify"]).0, 0);
    assert_eq!(check_in(copy.path(), &fake, &["--full", "--verify"]).0, 1, "the larger scopes are not recorded");
    assert_eq!(check_in(copy.path(), &fake, &["--full", "--record"]).0, 0);
    for arguments in [&["--full", "--verify"][..], &["--verify"]] {
        assert_eq!(check_in(copy.path(), &fake, arguments).0, 0);
    }
    fs::write(copy.path().join("model/src/new.rs"), "").unwrap();
    let (status, out, _) = check_in(copy.path(), &fake, &["--verify"]);
    assert!(status == 1 && out.contains("differs in sources, dependencies or features"), "{out}");
    assert_eq!(check_in(copy.path(), &fake, &[]).0, 0, "without --verify it is only said");
}

#[test]
fn no_scope_is_taken_for_a_subcommand() {
    assert!(Fake::new().scopes().iter().all(|scope| !SUBCOMMANDS.contains(&scope.name.as_str())));
}
