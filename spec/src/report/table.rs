//! The table at the end of a run: one line a scope, the sums, and what else the run has to say.

use super::{RunReport, ScopeReport, Verdict};
use std::fmt::Write;

const HEADERS: [&str; 7] = ["scope", "states", "transitions", "depth", "time", "k/s", "verdict"];
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// The table and the lines below it; `coloured` on a terminal.
pub fn table(run: &RunReport, coloured: bool) -> String {
    let mut rows: Vec<[String; 7]> = vec![HEADERS.map(String::from)];
    rows.extend(run.scopes.iter().map(row));
    let totals = &run.totals;
    rows.push([
        format!("total ({})", run.scopes.len()),
        thousands(totals.unique_states),
        thousands(totals.generated_states),
        String::new(),
        duration(totals.seconds),
        thousands((totals.states_per_second / 1000.0) as u64),
        format!("peak memory {} MiB", totals.peak_memory_bytes >> 20),
    ]);
    let widths: Vec<usize> = (0..HEADERS.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();

    let mut text = String::new();
    let last = rows.len() - 1;
    for (index, row) in rows.iter().enumerate() {
        if index == 1 || index == last {
            let rule = widths.iter().map(|width| "─".repeat(*width)).collect::<Vec<_>>().join("  ");
            let _ = writeln!(text, "{rule}");
        }
        let [name, numbers @ .., verdict] = row;
        let _ = write!(text, "{name:<width$}", width = widths[0]);
        for (number, width) in numbers.iter().zip(&widths[1..]) {
            let _ = write!(text, "  {number:>width$}");
        }
        let colour = match index.checked_sub(1).and_then(|scope| run.scopes.get(scope)) {
            Some(scope) if coloured => {
                if is_green(scope) {
                    GREEN
                } else {
                    RED
                }
            }
            _ => "",
        };
        let _ = writeln!(text, "  {colour}{verdict}{}", if colour.is_empty() { "" } else { PLAIN });
    }
    notes(&mut text, run);
    text
}

fn notes(text: &mut String, run: &RunReport) {
    let odds = odds(run.totals.collision_odds);
    let _ = writeln!(text, "\nodds that a fingerprint collision hid a state: {odds}");
    if let Some(marks) = &run.marks {
        let _ = writeln!(
            text,
            "marks on the replica's branches: {} of {} reached",
            marks.total - marks.unreached.len(),
            marks.total
        );
        for mark in &marks.unreached {
            let _ = writeln!(text, "  not reached: {}: {}", mark.name, mark.meaning);
        }
    }
    if let Some(record) = &run.record {
        let _ = writeln!(text, "record of the last green check: {record}");
    }
    for example in &run.counterexamples {
        let (property, scope, steps) = (&example.property, &example.scope, example.steps);
        let _ = writeln!(text, "counterexample to {property} in {scope}, {steps} steps: {}", example.files.join(" "));
    }
}

fn row(scope: &ScopeReport) -> [String; 7] {
    [
        scope.name.clone(),
        thousands(scope.unique_states),
        thousands(scope.generated_states),
        scope.depth.to_string(),
        duration(scope.seconds),
        thousands((scope.states_per_second / 1000.0) as u64),
        verdict(scope),
    ]
}

/// What came of a scope's properties in a few words: who failed, by name; otherwise how many hold.
pub fn verdict(scope: &ScopeReport) -> String {
    let named = |wanted: Verdict| -> Vec<&str> {
        scope.properties.iter().filter(|p| p.verdict == wanted).map(|p| p.name.as_str()).collect()
    };
    let (holds, violated, witnessed) = (named(Verdict::Holds), named(Verdict::Violated), named(Verdict::Witnessed));
    let mut parts = Vec::new();
    if !violated.is_empty() {
        parts.push(format!("VIOLATED: {}", violated.join(", ")));
    }
    if !scope.exhausted {
        parts.push(format!("INCOMPLETE: {}", scope.why_incomplete.as_deref().unwrap_or("not exhausted")));
    }
    let not_witnessed = named(Verdict::NotWitnessed);
    if !not_witnessed.is_empty() {
        parts.push(format!("NOT WITNESSED: {}", not_witnessed.join(", ")));
    }
    if parts.is_empty() {
        let all = if holds.is_empty() { "nothing to hold".into() } else { format!("all {} hold", holds.len()) };
        parts.push(if witnessed.is_empty() { all } else { format!("{all}, {} witnessed", witnessed.len()) });
    }
    parts.join("; ")
}

fn is_green(scope: &ScopeReport) -> bool {
    scope.exhausted && scope.properties.iter().all(|p| matches!(p.verdict, Verdict::Holds | Verdict::Witnessed))
}

/// A number with its thousands apart: `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Seconds with their unit: `0.42 s`, `12.3 s`, `4 min 05 s`.
pub fn duration(seconds: f64) -> String {
    if seconds < 9.995 {
        format!("{seconds:.2} s")
    } else if seconds < 99.95 {
        format!("{seconds:.1} s")
    } else {
        let whole = seconds.round() as u64;
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

/// Odds as `1 in 2,000,000`.
pub fn odds(probability: f64) -> String {
    if probability <= 0.0 { "none".into() } else { format!("1 in {}", thousands((1.0 / probability) as u64)) }
}

#[cfg(test)]
mod tests {
    use super::{duration, odds, table, thousands, verdict};
    use crate::report::{MarksReport, PropertyReport, RunReport, Totals, UnreachedMark, Verdict, samples};

    fn run() -> RunReport {
        let scopes = vec![samples::report("one-slot"), samples::report("five-replicas")];
        let unreached = vec![UnreachedMark { name: "HoleFilled".into(), meaning: "a hole is filled".into() }];
        RunReport {
            totals: Totals::of(&scopes, scopes.iter().map(|scope| scope.seconds).sum()),
            scopes,
            marks: Some(MarksReport { total: 60, unreached }),
            counterexamples: vec![],
            record: Some("matches".into()),
            exit_status: 1,
        }
    }

    #[test]
    fn the_table_is_aligned_and_says_everything() {
        let expected = "\
scope          states  transitions  depth    time  k/s  verdict
─────────────  ──────  ───────────  ─────  ──────  ───  ───────────────────────
one-slot        4,408       20,123     31  0.50 s   40  all 2 hold, 1 witnessed
five-replicas   4,408       20,123     31  0.50 s   40  all 2 hold, 1 witnessed
─────────────  ──────  ───────────  ─────  ──────  ───  ───────────────────────
total (2)       8,816       40,246         1.00 s   40  peak memory 64 MiB

odds that a fingerprint collision hid a state: 1 in 949,372,288,469
marks on the replica's branches: 59 of 60 reached
  not reached: HoleFilled: a hole is filled
record of the last green check: matches
";
        assert_eq!(table(&run(), false), expected);
    }

    #[test]
    fn colours_are_for_terminals() {
        let mut run = run();
        run.scopes[1].exhausted = false;
        assert!(!table(&run, false).contains('\x1b'));
        let coloured = table(&run, true);
        assert!(
            coloured.contains("\x1b[32mall 2 hold") && coloured.contains("\x1b[31mINCOMPLETE: not exhausted\x1b[0m")
        );
    }

    #[test]
    fn whoever_failed_is_named() {
        let mut scope = samples::report("one-slot");
        scope.properties[0].verdict = Verdict::Violated;
        scope.properties.push(PropertyReport { name: "hole filled".into(), verdict: Verdict::NotWitnessed });
        assert_eq!(verdict(&scope), "VIOLATED: agreement; NOT WITNESSED: hole filled");
        scope.exhausted = false;
        scope.why_incomplete = Some("time limit of 5 s".into());
        assert!(verdict(&scope).contains("VIOLATED: agreement; INCOMPLETE: time limit of 5 s"));
        scope.properties.clear();
        scope.exhausted = true;
        assert_eq!(verdict(&scope), "nothing to hold");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.421, 12.34, 245.2].map(duration), ["0.42 s", "12.3 s", "4 min 05 s"]);
        assert_eq!([0.0, 0.5].map(odds), ["none", "1 in 2"]);
    }
}
