//! The kill matrix: a check that never fails proves nothing, so each known bug is put in and must be found.
//!
//! A mutant is a patch in `spec/mutants/` whose header names the scope that finds it and the property that it breaks. The workspace is copied, the
//! patch applied to the copy, the check built there and run on that scope; it must end with status 1 and that property violated. Where the
//! scope is small it must do so without reductions too: a mutant that is found only without them shows a reduction that masks. A mutant
//! that survives, that breaks only other properties, that does not apply, build or end in time fails the run. Nothing outside `target/` changes.

mod matrix;
mod patch;
mod workshop;

pub use matrix::{BEGIN, END, Row};
pub use patch::{DIRECTORY, Mutant};

use crate::{
    cli::{Catalogue, Console, ScopeInfo, unknown},
    report::{RunReport, Verdict, files},
};
use std::{fs, time::Instant};
use workshop::Workshop;

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
    let readme = console.root.join(matrix::README);
    if write {
        // Before the long run: that the table has a place.
        matrix::replaced(&read(&readme)?, "")?;
        files::ensure_writable(&readme)?;
    }
    let workshop = Workshop::open(console.root)?;
    let mut rows = Vec::new();
    for (index, mutant) in chosen.iter().enumerate() {
        let small = scopes.iter().any(|scope: &ScopeInfo| scope.name == mutant.scope && scope.small);
        let row = refute(&workshop, mutant, small);
        let _ = writeln!(console.err, "[{}/{}] {}: {}", index + 1, chosen.len(), mutant.name, row.outcome());
        rows.push(row);
    }
    workshop.close()?;
    console.say(&matrix::text(&rows));
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

fn read(file: &std::path::Path) -> Result<String, String> {
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

/// Applies, builds and checks one mutant.
#[allow(clippy::disallowed_methods, reason = "how long a mutant takes is printed")]
fn refute(workshop: &Workshop, mutant: &Mutant, small: bool) -> Row {
    let began = Instant::now();
    let mut row = Row::new(mutant);
    let mut attempt = || -> Result<(), String> {
        workshop.restore()?;
        workshop.apply(mutant)?;
        workshop.build()?;
        let run = workshop.check(&mutant.scope, true)?;
        (row.steps, row.states) = judge(&run, mutant)?;
        if small {
            let run = workshop.check(&mutant.scope, false).map_err(|error| format!("without reductions, {error}"))?;
            let (_, states) = judge(&run, mutant).map_err(|error| format!("without reductions, {error}"))?;
            row.states_without_reductions = Some(states);
        }
        Ok(())
    };
    row.failure = attempt().err();
    row.seconds = began.elapsed().as_secs_f64();
    row
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
        format!("refuted by {} only", violated.join(", "))
    } else if !scope.exhausted {
        format!("survived: incomplete, {}", scope.why_incomplete.as_deref().unwrap_or("not exhausted"))
    } else {
        "survived".into()
    })
}

#[cfg(test)]
mod tests;
