//! The kill matrix: a check that never fails proves nothing, so each known bug is put in and must be found.
//!
//! A mutant is a patch in `spec/mutants/` whose header names the scope that finds it and the property that it breaks. The workspace is copied, the
//! patch applied to the copy, the check built there and run on that scope; it must end with status 1 and that property violated. Those that
//! change nothing but bodies of functions are joined in one program, of which one at a time is run (`mutants/joined.rs`). Where the scope is small it
//! must do so without reductions too: a mutant that is found only without them shows a reduction that masks. A mutant that survives, that
//! breaks only other properties, that does not apply, build or end in time fails the run. Nothing outside `target/` changes.

mod joined;
mod matrix;
mod patch;
mod programs;
mod sources;
mod workshop;

pub use matrix::{BEGIN, END, Row, Seconds};
pub use patch::{DIRECTORY, Mutant};

use crate::{
    cli::{Catalogue, Console, unknown},
    report::{RunReport, Verdict, files},
};
use std::{
    fs,
    path::Path,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Instant,
};
use workshop::{Program, Workshop};

/// Mutants that are checked at a time, at most: each takes memory, and most end before they use all processors.
const CHECKS_MAX: usize = 4;

/// Runs the mutants `names`, or all; returns the exit status. The error, one line, is for what keeps the run from beginning.
pub(crate) fn run(
    catalogue: &dyn Catalogue,
    names: &[String],
    write: bool,
    console: &mut Console<'_>,
) -> Result<u8, String> {
    let scopes = catalogue.scopes();
    let mutants = patch::read_all(console.root, &scopes)?;
    let chosen = choose(&mutants, names)?;
    for mutant in &chosen {
        let judged = catalogue.ensure_judged(&mutant.property, &mutant.scope, true);
        judged.map_err(|unknown| format!("{DIRECTORY}/{}.patch: {unknown}", mutant.name))?;
    }
    let readme = console.root.join(matrix::README);
    if write {
        // Before the long run: that the table has a place.
        matrix::replaced(&read(&readme)?, "")?;
        files::ensure_writable(&readme)?;
    }
    let small: Vec<&str> = scopes.iter().filter(|scope| scope.small).map(|scope| scope.name.as_str()).collect();
    let control = control(&chosen, &small).ok_or("no scope is small: programs without a mutant cannot be checked")?;
    let workshop = Workshop::open(console.root)?;
    let began = now();
    let built = programs::build(&workshop, &chosen, &control, console)?;
    workshop.close()?;
    let mut rows: Vec<Option<Row>> = chosen.iter().map(|_| None).collect();
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(CHECKS_MAX)).min(chosen.len());
    std::thread::scope(|scope| {
        let (sender, ended) = mpsc::channel();
        for _ in 0..threads {
            let (sender, next, chosen, small, built) = (sender.clone(), &next, &chosen, &small, &built);
            let workshop = &workshop;
            scope.spawn(move || {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some((mutant, built)) = chosen.get(place).zip(built.get(place)) else { return };
                    let small = small.contains(&mutant.scope.as_str());
                    let mut row = Row::new(mutant);
                    row.seconds.build = built.seconds;
                    let program = built.program.as_ref().map_err(String::clone);
                    row.failure = program.and_then(|program| refute(workshop, program, mutant, small, &mut row)).err();
                    if sender.send((place, row)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (count, (place, row)) in ended.into_iter().enumerate() {
            let _ = writeln!(console.err, "[{}/{}] {}: {}", count + 1, chosen.len(), row.mutant, row.outcome());
            rows[place] = Some(row);
        }
    });
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    console.say(&matrix::text(&rows, began.elapsed().as_secs_f64()));
    let survived = rows.iter().any(|row| row.failure.is_some());
    if write {
        if survived {
            console.say(&format!("{} is left as it was, since not every mutant was refuted", matrix::README));
        } else {
            files::write(&readme, &matrix::replaced(&read(&readme)?, &matrix::markdown(&rows))?)?;
        }
    }
    Ok(u8::from(survived))
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", matrix::README).replace('\n', " "))
}

fn choose<'a>(mutants: &'a [Mutant], names: &[String]) -> Result<Vec<&'a Mutant>, String> {
    if names.is_empty() {
        return Ok(mutants.iter().collect());
    }
    let known: Vec<&str> = mutants.iter().map(|mutant| mutant.name.as_str()).collect();
    if let Some(name) = names.iter().map(|name| patch::plain(name)).find(|name| !known.contains(name)) {
        return Err(unknown("mutant", name, &known, DIRECTORY));
    }
    Ok(mutants.iter().filter(|mutant| names.iter().any(|name| patch::plain(name) == mutant.name)).collect())
}

/// The scopes in which a program has to find nothing wrong without a mutant: those of `small` that a mutant names, and the first in any case, since
/// they may all name others.
fn control<'a>(mutants: &[&Mutant], small: &[&'a str]) -> Option<Vec<&'a str>> {
    let (first, others) = small.split_first()?;
    let named = others.iter().filter(|name| mutants.iter().any(|mutant| mutant.scope == **name));
    Some(std::iter::once(first).chain(named).copied().collect())
}

/// Checks one mutant, whose check is `program`. The error says why it does not count as refuted.
fn refute(workshop: &Workshop, program: &Program, mutant: &Mutant, small: bool, row: &mut Row) -> Result<(), String> {
    let judged = |reductions| {
        let began = now();
        let run = workshop.check(program, &[&mutant.scope], mutant.alone.then_some(&mutant.property), reductions);
        (run.and_then(|run| judge(&run, mutant)), began.elapsed().as_secs_f64())
    };
    let reduced;
    (reduced, row.seconds.reduced) = judged(true);
    (row.steps, row.states) = reduced?;
    if small {
        let unreduced;
        (unreduced, row.seconds.unreduced) = judged(false);
        let (_, states) = unreduced.map_err(|error| format!("without reductions, {error}"))?;
        row.states_without_reductions = Some(states);
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "how long a mutant takes is printed")]
fn now() -> Instant {
    Instant::now()
}

/// The length of the counterexample and the states visited, if the run refutes the mutant by the property that it names.
fn judge(run: &RunReport, mutant: &Mutant) -> Result<(usize, u64), String> {
    let Some(scope) = run.scopes.iter().find(|scope| scope.name == mutant.scope) else {
        return Err(format!("the report has no scope `{}`", mutant.scope));
    };
    let violated: Vec<&str> =
        scope.properties.iter().filter(|p| p.verdict == Verdict::Violated).map(|p| p.name.as_str()).collect();
    if violated.contains(&mutant.property.as_str()) && run.exit_status == 1 {
        let example = run.counterexamples.iter().find(|example| example.property == mutant.property);
        return Ok((example.map_or(0, |example| example.steps), scope.unique_states));
    }
    let names: Vec<&str> = scope.properties.iter().map(|property| property.name.as_str()).collect();
    Err(if !names.contains(&mutant.property.as_str()) {
        unknown("property", &mutant.property, &names, "its scope's report")
    } else if !violated.is_empty() {
        format!("survived: refuted by {} only, not by the property that it names", violated.join(", "))
    } else if !scope.exhausted {
        format!("survived: incomplete, {}", scope.why_incomplete.as_deref().unwrap_or("not exhausted"))
    } else {
        "survived: its scope was exhausted, and everything holds".into()
    })
}

#[cfg(test)]
mod tests;
