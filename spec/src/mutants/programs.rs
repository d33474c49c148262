//! Which program each mutant is: one that it shares with others where it can be [joined](super::joined), or its own.

use super::{
    Mutant,
    joined::{Bodies, join},
    now,
    workshop::{Program, Workshop},
};
use crate::cli::Console;
use std::{cell::LazyCell, collections::BTreeMap};

/// A mutant's program, or in one line why there is none.
pub(super) struct Built {
    pub(super) program: Result<Program, String>,
    /// Its part of the time that the build took.
    pub(super) seconds: f64,
}

/// Builds all mutants, and returns what came of each, in their order. A program of many has to find nothing wrong in the scopes `control`, without any
/// of them. The error, one line, is for what is no mutant's fault.
pub(super) fn build(
    workshop: &Workshop,
    mutants: &[&Mutant],
    control: &[&str],
    console: &mut Console<'_>,
) -> Result<Vec<Built>, String> {
    let mut built: BTreeMap<usize, Built> = BTreeMap::new();
    let mut bodies: BTreeMap<usize, Vec<Bodies>> = BTreeMap::new();
    for (place, mutant) in mutants.iter().enumerate() {
        let began = now();
        let changes = workshop.changes(mutant);
        match changes.map(|changes| changes.into_iter().map(Bodies::of).collect::<Option<Vec<_>>>()) {
            Ok(Some(changed)) => drop(bodies.insert(place, changed)),
            Ok(None) => (),
            Err(error) => {
                let failed = Built { program: Err(error), seconds: began.elapsed().as_secs_f64() };
                built.insert(place, failed);
            }
        }
    }
    // Asked once, when a build fails first: what fails without any mutant would fail with each of them.
    let original = LazyCell::new(|| {
        let program = workshop.make_original();
        let right = program.and_then(|program| ensure_right(workshop, &program, control));
        right.map_err(|error| format!("no mutant is at fault: {error}"))
    });
    let mut groups = vec![bodies.keys().copied().collect::<Vec<_>>()];
    while let Some(group) = groups.pop() {
        // One by itself is built as it is.
        if group.len() < 2 {
            continue;
        }
        let began = now();
        match build_joined(workshop, &group, &bodies, control) {
            Ok(program) => {
                let seconds = began.elapsed().as_secs_f64();
                let _ = writeln!(console.err, "{} mutants are one program, built in {seconds:.1} s", group.len());
                let seconds = seconds / group.len() as f64;
                let of = |place| Built { program: Ok(Program { number: number(place), ..program.clone() }), seconds };
                built.extend(group.into_iter().map(|place| (place, of(place))));
            }
            // One of them does not build, or not beside the others: the halves do, or tell which.
            Err(error) => {
                original.clone()?;
                let _ = writeln!(console.err, "{} mutants are not one program: {error}", group.len());
                let (first, second) = group.split_at(group.len() / 2);
                groups.extend([first.to_vec(), second.to_vec()]);
            }
        }
    }
    for (place, mutant) in mutants.iter().enumerate() {
        if built.contains_key(&place) {
            continue;
        }
        let began = now();
        let program = workshop.make(mutant, number(place));
        let seconds = began.elapsed().as_secs_f64();
        if program.is_err() {
            original.clone()?;
        }
        built.insert(place, Built { program, seconds });
    }
    Ok(built.into_values().collect())
}

/// The number of the mutant at `place` for the switch, which says nothing by 0.
fn number(place: usize) -> usize {
    place + 1
}

/// Builds one program for the mutants of `group`.
fn build_joined(
    workshop: &Workshop,
    group: &[usize],
    bodies: &BTreeMap<usize, Vec<Bodies>>,
    control: &[&str],
) -> Result<Program, String> {
    let members: Vec<(usize, &[Bodies])> =
        group.iter().map(|place| (number(*place), bodies[place].as_slice())).collect();
    let files = join(&members, |file| workshop.read(file))?;
    let program = workshop.make_joined(&files, number(group[0]))?;
    ensure_right(workshop, &Program { number: 0, ..program.clone() }, control)?;
    Ok(program)
}

/// That a program without a mutant finds nothing wrong in the scopes `control`.
fn ensure_right(workshop: &Workshop, program: &Program, control: &[&str]) -> Result<(), String> {
    let failed = |error| format!("without a mutant, {error}");
    match workshop.check(program, control, None, true).map_err(failed)?.exit_status {
        0 => Ok(()),
        status => Err(failed(format!("`check {}` ends with {status}", control.join(" ")))),
    }
}
