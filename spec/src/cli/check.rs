//! Running scopes, and judging what came of them.

use super::runs::{Task, run_all};
use super::{Catalogue, CheckArguments, Console, RunOptions, SUBCOMMANDS, ScopeInfo, ScopeRun, unknown};
use crate::{
    engine,
    record::{self, Status},
    report::{
        CounterexampleSummary, MarksReport, RunReport, ScopeReport, Totals, UnreachedMark, Verdict, files, story, table,
    },
};

/// Memory limit of the process in a scope of the default run, in MiB, if none is given: a mistake in a replica may make its states
/// endless.
const MEMORY_MIB: u64 = 6144;
/// The same for the other scopes, which are larger.
const MEMORY_MIB_LARGE: u64 = 12288;
/// Time limit of a scope of the default run, in seconds, if none is given: for the same reason.
const SECONDS: u64 = 300;
/// The same for the other scopes, which are larger.
const SECONDS_LARGE: u64 = 900;

pub(super) fn run(
    catalogue: &dyn Catalogue,
    arguments: &CheckArguments,
    console: &mut Console<'_>,
) -> Result<u8, String> {
    let scopes = catalogue.scopes();
    let chosen = choose(&scopes, arguments)?;
    if arguments.list {
        console.say(&list(&chosen));
        return Ok(0);
    }
    if chosen.is_empty() {
        return Err("there is no scope to run; `check --list` shows all".into());
    }
    if let Some(property) = &arguments.property {
        let judged = |scope: &&ScopeInfo| catalogue.ensure_judged(property, &scope.name, !arguments.no_reductions);
        chosen.iter().try_for_each(judged)?;
    }
    files::prepare(console.root)?;
    if let Some(file) = &arguments.json {
        files::ensure_writable(file).map_err(|error| format!("--json: {error}"))?;
    }
    let every_default = scopes.iter().filter(|scope| scope.default).all(|scope| chosen.contains(&scope));
    // What the record compares is the plain default run, and that of `--full`.
    let plain = every_default && arguments.scopes.is_empty() && !arguments.no_reductions;
    let before = plain.then(|| record::fingerprint(console.root));
    if arguments.record {
        files::ensure_writable(&console.root.join(record::FILE)).map_err(|error| format!("--record: {error}"))?;
        before.clone().transpose().map_err(|error| format!("--record: {error}"))?;
    }

    let task = |scope: &&ScopeInfo| Task {
        name: scope.name.clone(),
        options: options(arguments, scope),
        small: scope.default,
    };
    let tasks: Vec<Task> = chosen.iter().map(task).collect();
    let began = engine::now();
    let (runs, counterexamples) = run_all(catalogue, &tasks, console)?;
    let seconds = began.elapsed().as_secs_f64();
    let reports: Vec<ScopeReport> = runs.into_iter().map(|run| run.report).collect();

    let marks = every_default.then(|| marks(catalogue));
    let mut exit_status = judge(&reports, marks.as_ref());
    let mut record = None;
    if let Some(before) = before {
        let is_default = |report: &ScopeReport| scopes.iter().any(|scope| scope.default && scope.name == report.name);
        let (default, larger): (Vec<_>, Vec<_>) = reports.iter().cloned().partition(is_default);
        let larger = arguments.full.then_some(&larger[..]);
        let status = before.and_then(|fingerprint| {
            if arguments.record && exit_status == 0 {
                if record::fingerprint(console.root)? != fingerprint {
                    return Err("the sources changed during the run: run it again".into());
                }
                record::write(console.root, &fingerprint, &default, larger)?;
            }
            record::verify(console.root, &fingerprint, &default, larger)
        });
        let wanted = arguments.record || arguments.verify;
        if wanted && exit_status == 0 && status != Ok(Status::Matches) {
            exit_status = 1;
        }
        let kept = if arguments.record && exit_status != 0 {
            "not written, since the run is not green; the old one "
        } else {
            ""
        };
        record = Some(format!("{kept}{}", status.map_or_else(|error| error, |status| status.to_string())));
    }
    let totals = Totals::of(&reports, seconds);
    let report = RunReport { scopes: reports, totals, marks, counterexamples, record, exit_status };
    console.say(&format!("\n{}", table::table(&report, console.out_is_terminal).trim_end()));
    if let Some(file) = &arguments.json {
        files::write(file, &files::json(&report)?)?;
    }
    Ok(exit_status)
}

/// 1 if anything is violated or, in an exhausted scope, not witnessed; else 2 if a scope was not exhausted; else 1 if a mark was not reached; else 0.
fn judge(scopes: &[ScopeReport], marks: Option<&MarksReport>) -> u8 {
    let any = |wanted: Verdict| scopes.iter().any(|scope| scope.properties.iter().any(|p| p.verdict == wanted));
    let unwitnessed = |scope: &&ScopeReport| scope.properties.iter().any(|p| p.verdict == Verdict::NotWitnessed);
    if any(Verdict::Violated) || scopes.iter().filter(|scope| scope.exhausted).any(|scope| unwitnessed(&scope)) {
        1
    } else if scopes.iter().any(|scope| !scope.exhausted) || any(Verdict::Incomplete) {
        2
    } else {
        u8::from(marks.is_some_and(|marks| !marks.unreached.is_empty()))
    }
}

fn options(arguments: &CheckArguments, scope: &ScopeInfo) -> RunOptions {
    let default = RunOptions::default();
    let (seconds, memory_mib) = if scope.default { (SECONDS, MEMORY_MIB) } else { (SECONDS_LARGE, MEMORY_MIB_LARGE) };
    RunOptions {
        threads: arguments.threads.unwrap_or(default.threads),
        seconds: arguments.seconds.or(Some(seconds)),
        memory_mib: arguments.memory_mib.or(Some(memory_mib)),
        shortening_seconds: arguments.shortening_seconds.unwrap_or(default.shortening_seconds),
        property: arguments.property.clone(),
        reductions: !arguments.no_reductions,
        salt: arguments.salt.unwrap_or(default.salt),
    }
}

fn choose<'a>(scopes: &'a [ScopeInfo], arguments: &CheckArguments) -> Result<Vec<&'a ScopeInfo>, String> {
    let named: Vec<&ScopeInfo> = arguments.scopes.iter().map(|name| find(scopes, name)).collect::<Result<_, _>>()?;
    Ok(scopes
        .iter()
        .filter(|scope| match named.is_empty() {
            false => named.contains(scope),
            true => arguments.full || arguments.list || scope.default,
        })
        .collect())
}

/// The scope called `name`; the error names the nearest ones.
pub(super) fn find<'a>(scopes: &'a [ScopeInfo], name: &str) -> Result<&'a ScopeInfo, String> {
    scopes.iter().find(|scope| scope.name == name).ok_or_else(|| {
        if SUBCOMMANDS.contains(&name) {
            return format!("`{name}` is a subcommand: give it first, without scopes or options before it");
        }
        let known: Vec<&str> = scopes.iter().map(|scope| scope.name.as_str()).chain(SUBCOMMANDS).collect();
        unknown("scope", name, &known, "`check --list`")
    })
}

fn list(scopes: &[&ScopeInfo]) -> String {
    let width = scopes.iter().map(|scope| scope.name.chars().count()).max().unwrap_or(0);
    let line = |scope: &&ScopeInfo| {
        let run = if scope.default { "default" } else { "--full " };
        format!("{:<width$}  {run}  {}", scope.name, scope.description)
    };
    scopes.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn marks(catalogue: &dyn Catalogue) -> MarksReport {
    let marks = catalogue.marks();
    let total = marks.len();
    let unreached = marks.into_iter().filter(|(_, _, reached)| !reached);
    MarksReport { total, unreached: unreached.map(|(name, meaning, _)| UnreachedMark { name, meaning }).collect() }
}

/// Prints the counterexamples of a run and writes them; removes those of earlier runs that are true no more.
pub(super) fn tell(console: &mut Console<'_>, run: &ScopeRun) -> Result<Vec<CounterexampleSummary>, String> {
    files::remove_stale(console.root, &run.report);
    let mut told = Vec::new();
    for example in &run.counterexamples {
        let files = files::write_counterexample(console.root, example)?;
        console.say(&format!("\n{}", story::story(example)));
        let (scope, property, steps) = (example.scope.clone(), example.property.clone(), example.steps.len());
        told.push(CounterexampleSummary { scope, property, steps, files });
    }
    let _ = console.err.flush();
    Ok(told)
}
