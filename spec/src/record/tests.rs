use super::digest::resolved;
use super::{FILE, PACKAGES, Status, fingerprint, status, verify, write};
use crate::report::samples;
use std::{fs, path::Path};

const LOCK: &str = r#"
[[package]]
name = "paxos-model"
version = "0.1.0"
dependencies = ["imbl", "twice 2.0.0"]
[[package]]
name = "paxos-spec"
version = "0.1.0"
dependencies = ["paxos-model"]
[[package]]
name = "imbl"
version = "7.0.0"
checksum = "aa"
[[package]]
name = "twice"
version = "1.0.0"
checksum = "bb"
[[package]]
name = "twice"
version = "2.0.0"
checksum = "cc"
[[package]]
name = "tokio"
version = "1.0.0"
checksum = "dd"
"#;

fn workspace() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "Cargo.toml", "[workspace.dependencies]\nimbl = '7'\ntokio = '1'\n[profile.dev]\nopt-level = 2\n");
    put(root.path(), "Cargo.lock", LOCK);
    put(root.path(), "model/Cargo.toml", "[dependencies]\nimbl.workspace = true\n");
    put(root.path(), "spec/Cargo.toml", "[dependencies]\n");
    put(root.path(), "model/src/replica/acceptor.rs", "// acceptor");
    put(root.path(), "spec/src/scopes/mod.rs", "// scopes");
    put(root.path(), "spec/src/report/table.rs", "// table");
    root
}

fn put(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn whatever_can_change_a_verdict_changes_the_digest_and_nothing_else_does() {
    let root = workspace();
    let digest = || fingerprint(root.path()).unwrap().digest;
    let first = digest();
    assert_eq!(first.len(), 64);
    let change = |file: &str, from: &str, to: &str, counts: bool| {
        let before = fs::read_to_string(root.path().join(file)).unwrap();
        assert!(before.contains(from), "{file} has no {from}");
        put(root.path(), file, &before.replacen(from, to, 1));
        assert_eq!(digest() != first, counts, "{file}: {from} to {to}");
        put(root.path(), file, &before);
        assert_eq!(digest(), first);
    };
    change("model/src/replica/acceptor.rs", "acceptor", "other", true);
    change("spec/src/scopes/mod.rs", "scopes", "other", true);
    change("Cargo.lock", "checksum = \"aa\"", "checksum = \"ab\"", true);
    change("Cargo.lock", "checksum = \"cc\"", "checksum = \"ab\"", true);
    change("Cargo.toml", "imbl = '7'", "imbl = { version = '7', features = ['serde'] }", true);
    change("Cargo.toml", "opt-level = 2", "overflow-checks = false", true);
    change("model/Cargo.toml", "[dependencies]", "[features]\na = []\n[dependencies]", true);
    // The other version of the same crate, another member's dependencies, what only prints.
    change("Cargo.lock", "checksum = \"bb\"", "checksum = \"ab\"", false);
    change("Cargo.lock", "checksum = \"dd\"", "checksum = \"ab\"", false);
    change("Cargo.toml", "tokio = '1'", "tokio = '2'", false);
    change("spec/src/report/table.rs", "table", "other", false);

    fs::rename(root.path().join("model/src/replica/acceptor.rs"), root.path().join("model/src/acceptor.rs")).unwrap();
    assert_ne!(digest(), first, "a file that moved");
}

#[test]
fn the_protocol_is_the_model_with_what_it_depends_on() {
    let root = workspace();
    let protocol = || fingerprint(root.path()).unwrap().protocol;
    let first = protocol();
    for (file, from, to, counts) in [
        ("model/src/replica/acceptor.rs", "acceptor", "other", true),
        ("Cargo.lock", "checksum = \"cc\"", "checksum = \"ab\"", true),
        ("model/Cargo.toml", "[dependencies]", "[features]\na = []\n[dependencies]", true),
        ("spec/src/scopes/mod.rs", "scopes", "other", false),
        ("spec/Cargo.toml", "[dependencies]", "[features]\na = []\n[dependencies]", false),
        ("Cargo.lock", "checksum = \"dd\"", "checksum = \"ab\"", false),
    ] {
        let before = fs::read_to_string(root.path().join(file)).unwrap();
        put(root.path(), file, &before.replacen(from, to, 1));
        assert_eq!(protocol() != first, counts, "{file}: {from} to {to}");
        put(root.path(), file, &before);
    }
}

#[test]
fn a_record_matches_its_own_run_and_says_what_differs() {
    let root = workspace();
    let now = fingerprint(root.path()).unwrap();
    let mut scopes = vec![samples::report("one"), samples::report("two")];
    assert_eq!(status(root.path(), &now), Ok(Status::Missing));
    write(root.path(), &now, &scopes, None).unwrap();
    assert_eq!(status(root.path(), &now), Ok(Status::Matches));
    assert_eq!(verify(root.path(), &now, &scopes, None), Ok(Status::Matches));

    scopes[0].depth += 1;
    scopes[0].seconds += 1.0;
    assert_eq!(verify(root.path(), &now, &scopes, None), Ok(Status::Matches), "depth and time are not recorded");
    scopes[1].unique_states += 1;
    scopes.push(samples::report("three"));
    let differs = |what: &[&str]| Ok(Status::Differs { what: what.iter().map(|w| (*w).to_string()).collect() });
    assert_eq!(verify(root.path(), &now, &scopes, None), differs(&["the counts of three", "the counts of two"]));

    put(root.path(), "model/src/replica/acceptor.rs", "// changed");
    let changed = fingerprint(root.path()).unwrap();
    assert_eq!(status(root.path(), &changed), differs(&["sources, dependencies or features"]));
    let mut other = now.clone();
    other.compiler = "another".into();
    assert_eq!(status(root.path(), &other), differs(&["the compiler"]));
}

#[test]
fn the_larger_scopes_are_recorded_as_long_as_the_sources_are_the_same() {
    let root = workspace();
    let now = fingerprint(root.path()).unwrap();
    let (scopes, mut larger) = ([samples::report("one")], [samples::report("large")]);
    let differs = |what: &str| Ok(Status::Differs { what: vec![what.into()] });
    write(root.path(), &now, &scopes, None).unwrap();
    assert_eq!(verify(root.path(), &now, &scopes, Some(&larger)), differs("the counts of large"));
    write(root.path(), &now, &scopes, Some(&larger)).unwrap();
    write(root.path(), &now, &scopes, None).unwrap();
    assert_eq!(verify(root.path(), &now, &scopes, Some(&larger)), Ok(Status::Matches));
    assert_eq!(verify(root.path(), &now, &scopes, None), Ok(Status::Matches));
    larger[0].unique_states += 1;
    assert_eq!(verify(root.path(), &now, &scopes, Some(&larger)), differs("the counts of large"));

    put(root.path(), "model/src/replica/acceptor.rs", "// changed");
    let changed = fingerprint(root.path()).unwrap();
    write(root.path(), &changed, &scopes, None).unwrap();
    larger[0].unique_states -= 1;
    assert_eq!(verify(root.path(), &changed, &scopes, Some(&larger)), differs("the counts of large"));
}

#[test]
fn what_cannot_be_read_is_said_in_one_line() {
    let root = workspace();
    let now = fingerprint(root.path()).unwrap();
    put(root.path(), FILE, "{");
    let error = status(root.path(), &now).unwrap_err();
    assert!(error.starts_with("spec/record.json is not a record: ") && !error.contains('\n'), "{error}");
    fs::remove_file(root.path().join("Cargo.lock")).unwrap();
    let error = fingerprint(root.path()).unwrap_err();
    assert!(error.starts_with("cannot read Cargo.lock: ") && !error.contains('\n'), "{error}");
}

#[test]
fn a_dependency_that_the_lock_lacks_is_named() {
    let lock = LOCK.replace("name = \"imbl\"", "name = \"other\"").parse().unwrap();
    assert_eq!(resolved(&lock, &PACKAGES).unwrap_err(), "Cargo.lock lacks imbl: build first");
}
