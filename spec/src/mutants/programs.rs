//! Which program each mutant is: one that it shares with others where it can be [joined](super::joined), or its own.

use super::{
    Mutant,
    joined::{Bodies, join},
    now,
    workshop::{Program, Workshop},
};
use crate::cli::Console;
use std::collections::{BTreeMap, BTreeSet};

/// A mutant's program, or in one line why there is none.
pub(super) struct Built {
    pub(super) program: Result<Program, String>,
    /// Its part of the time that the build took.
    pub(super) seconds: f64,
}

/// Builds all mutants, and returns what came of each, in their order; `small` are the names of scopes.
pub(super) fn build(
    workshop: &Workshop,
    mutants: &[&Mutant],
    small: &BTreeSet<&str>,
    console: &mut Console<'_>,
) -> Vec<Built> {
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
    let mut groups = vec![bodies.keys().copied().collect::<Vec<_>>()];
    while let Some(group) = groups.pop() {
        // One by itself is built as it is.
        if group.len() < 2 {
            continue;
        }
        let began = now();
        let scopes: BTreeSet<&str> = group.iter().map(|place| mutants[*place].scope.as_str()).collect();
        match build_joined(workshop, &group, &bodies, scopes.intersection(small).copied().collect()) {
            Ok(program) => {
                let seconds = began.elapsed().as_secs_f64();
                let _ = writeln!(console.err, "{} mutants are one program, built in {seconds:.1} s", group.len());
                let seconds = seconds / group.len() as f64;
                let of = |place| Built { program: Ok(Program { number: number(place), ..program.clone() }), seconds };
                built.extend(group.into_iter().map(|place| (place, of(place))));
            }
            // One of them does not build, or not beside the others: the halves do, or tell which.
            Err(error) => {
                let _ = writeln!(console.err, "{} mutants are not one program: {error}", group.len());
                let (first, second) = group.split_at(group.len() / 2);
                groups.extend([first.to_vec(), second.to_vec()]);
            }
        }
    }
    let alone = |place: usize| {
        let began = now();
        let program = workshop.make(mutants[place], number(place));
        Built { program, seconds: began.elapsed().as_secs_f64() }
    };
    (0..mutants.len()).map(|place| built.remove(&place).unwrap_or_else(|| alone(place))).collect()
}

/// The number of the mutant at `place` for the switch, which says nothing by 0.
fn number(place: usize) -> usize {
    place + 1
}

/// Builds one program for the mutants of `group`, which without any of them has to find nothing wrong in `scopes`.
fn build_joined(
    workshop: &Workshop,
    group: &[usize],
    bodies: &BTreeMap<usize, Vec<Bodies>>,
    scopes: Vec<&str>,
) -> Result<Program, String> {
    let members: Vec<(usize, &[Bodies])> =
        group.iter().map(|place| (number(*place), bodies[place].as_slice())).collect();
    let files = join(&members, |file| workshop.read(file))?;
    let program = workshop.make_joined(&files, number(group[0]))?;
    let original = Program { number: 0, ..program.clone() };
    let status = if scopes.is_empty() { 0 } else { workshop.check(&original, &scopes, None, true)?.exit_status };
    if status == 0 { Ok(program) } else { Err(format!("without a mutant, the check ends with {status}")) }
}
