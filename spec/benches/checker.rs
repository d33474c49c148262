//! The speed of the check beside that of `stateright`'s own example, on this machine, in one run.
//!
//! `cargo bench -p paxos-spec --bench checker` builds `examples/paxos.rs` of the very `stateright` that the workspace is
//! locked to, in a copy below `target/` and with the lock file that it ships with, and then takes turns, so that whatever else
//! the machine does falls on both: their `check 3`, and ours on one fixed scope. It prints generated transitions per second,
//! the ratio of each round, and how long the scope takes to be exhausted. The example is a smaller actor without restarts or
//! properties judged on steps, so the comparison favours it. Both use as many threads as there are cores.

use paxos_spec::cli::RunOptions as Defaults;
use paxos_spec::engine::{RunOptions, run};
use paxos_spec::report::{RunReport, table::thousands};
use paxos_spec::scopes::{Variation, catalogue};
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The reference scope: of the size of the example's, and in the default run.
const SCOPE: &str = "two-slots-two-ballots";
/// How often each takes its turn, unless a number is given as the argument.
const ROUNDS: usize = 3;

/// What one run took.
#[derive(Clone, Copy)]
struct Measured {
    generated: u64,
    unique: u64,
    seconds: f64,
}

impl Measured {
    /// Generated transitions per second.
    fn rate(self) -> f64 {
        self.generated as f64 / self.seconds
    }

    fn print(self, who: &str) {
        let (generated, unique, rate) =
            (thousands(self.generated), thousands(self.unique), thousands(self.rate() as u64));
        println!("  {who:<38} {generated:>10} generated {unique:>10} unique {:>7.2} s {rate:>10}/s", self.seconds);
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` starts benchmarks, too, without this.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("a measurement: run `cargo bench -p paxos-spec --bench checker`");
        return ExitCode::SUCCESS;
    }
    let rounds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(ROUNDS).max(1);
    match compare(rounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("checker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(rounds: usize) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the workspace has no directory")?;
    let example = build_example(root)?;
    let check = build_check(root)?;
    let threads = Defaults::default().threads;
    let (mut theirs, mut ours, mut dev) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        println!("round {round} of {rounds}, {threads} threads each");
        theirs.push(run_example(&example)?);
        theirs[round - 1].print("stateright, examples/paxos.rs check 3");
        ours.push(run_scope(threads)?);
        ours[round - 1].print(&format!("ours, {SCOPE}"));
        dev.push(run_check(root, &check, threads)?);
        dev[round - 1].print("ours, as `cargo run --bin check`");
    }
    let ratios = |ours: &[Measured]| {
        let all: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| ours.rate() / theirs.rate()).collect();
        let list: Vec<String> = all.iter().map(|ratio| format!("{ratio:.2}")).collect();
        format!("{:.2} (rounds: {})", median(all), list.join(", "))
    };
    let seconds = |ours: &[Measured]| median(ours.iter().map(|run| run.seconds).collect());
    println!("median ratio of generated transitions per second, ours to theirs");
    println!("  bench profile  {}", ratios(&ours));
    println!("  dev profile    {}", ratios(&dev));
    println!("median time to exhaust {SCOPE}");
    println!("  bench profile  {:.2} s", seconds(&ours));
    println!("  dev profile    {:.2} s", seconds(&dev));
    Ok(())
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Exhausts the reference scope in this process, built with the profile of benchmarks.
fn run_scope(threads: usize) -> Result<Measured, String> {
    let scope = catalogue::find(SCOPE).ok_or_else(|| format!("there is no scope {SCOPE}"))?;
    let system = scope.system(Variation::default()).expect("its scripted beginning can be played");
    let outcome = run(&system, &RunOptions { threads, ..RunOptions::default() }, |_| {});
    if !outcome.exhausted {
        return Err(format!("{SCOPE} was not exhausted: {:?} {:?}", outcome.stop, outcome.violations));
    }
    Ok(Measured { generated: outcome.generated as u64, unique: outcome.unique as u64, seconds: outcome.seconds })
}

/// Exhausts the reference scope with the command, built with the profile of the plain `cargo run`.
fn run_check(root: &Path, check: &Path, threads: usize) -> Result<Measured, String> {
    let file = root.join("target/bench-stateright/check.json");
    let mut command = Command::new(check);
    command.args([SCOPE, "--threads", &threads.to_string(), "--json"]).arg(&file);
    output(&mut command)?;
    let text = fs::read(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let report: RunReport = serde_json::from_slice(&text).map_err(|error| format!("the report: {error}"))?;
    let scope = report.scopes.first().ok_or("the report has no scope")?;
    Ok(Measured { generated: scope.generated_states, unique: scope.unique_states, seconds: scope.seconds })
}

/// Runs the example to its end, and reads what it says each second and then once: `Checking. states=…`, `Done. states=…, sec=…`.
///
/// It notices only at the next whole second that it is done, which would be counted against it. So its rate is taken up to the
/// last time that it was still at work, and its time from that rate.
fn run_example(example: &Path) -> Result<Measured, String> {
    let said = output(Command::new(example).args(["check", "3"]))?;
    let number = |line: &str, name: &str| -> Result<u64, String> {
        let found = line.split([' ', ',']).find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.and_then(|text| text.parse().ok()).ok_or_else(|| format!("no {name} in `{line}`"))
    };
    let done = said.lines().find(|line| line.starts_with("Done.")).ok_or("the example did not say that it is done")?;
    let samples: Vec<&str> = said.lines().filter(|line| line.starts_with("Checking.")).collect();
    let (states, elapsed) = match samples.last() {
        // The first is from the very start.
        Some(last) if samples.len() > 2 => (number(last, "states")?, samples.len() as u64 - 1),
        _ => (number(done, "states")?, number(done, "sec")?.max(1)),
    };
    let generated = number(done, "states")?;
    let seconds = generated as f64 * elapsed as f64 / states as f64;
    Ok(Measured { generated, unique: number(done, "unique")?, seconds })
}

fn build_check(root: &Path) -> Result<PathBuf, String> {
    let target = root.join("target");
    output(cargo().current_dir(root).args(["build", "--locked", "--bin", "check", "--target-dir"]).arg(&target))?;
    Ok(target.join("debug/check"))
}

/// Builds the example in a copy of the package, which may not be written to where cargo keeps it.
fn build_example(root: &Path) -> Result<PathBuf, String> {
    let metadata = output(cargo().current_dir(root).args(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let package = packages.iter().find(|package| package["name"] == "stateright").ok_or("stateright is not locked")?;
    let text = |field: &str| package[field].as_str().ok_or_else(|| format!("stateright has no {field}"));
    let source = Path::new(text("manifest_path")?).parent().ok_or("stateright has no directory")?;
    println!("stateright {}, from {}", text("version")?, text("source")?);
    let copy = root.join("target/bench-stateright").join(text("version")?);
    copy_directory(source, &copy).map_err(|error| format!("cannot copy {}: {error}", source.display()))?;
    // A workspace of its own: it lies below this one's.
    let manifest = copy.join("Cargo.toml");
    let declared = fs::read_to_string(&manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
    fs::write(&manifest, format!("{declared}\n[workspace]\n")).map_err(|error| error.to_string())?;
    let target = copy.join("target");
    let mut command = cargo();
    command.current_dir(&copy).args(["build", "--release", "--locked", "--example", "paxos", "--target-dir"]);
    output(command.arg(&target))?;
    Ok(target.join("release/examples/paxos"))
}

fn copy_directory(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// What the command prints. The error has what it complained of.
fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
