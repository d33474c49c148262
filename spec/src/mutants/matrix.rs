//! The kill matrix as text and as Markdown.

use super::Mutant;
use crate::report::table::{duration, thousands};

/// The file that keeps the matrix, below the workspace.
pub(super) const README: &str = "spec/README.md";
/// The line before the matrix there.
pub const BEGIN: &str = "<!-- mutants:begin -->";
/// The line after it.
pub const END: &str = "<!-- mutants:end -->";

/// How long a mutant took, by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seconds {
    /// Applying and building it.
    pub build: f64,
    /// Checking it.
    pub reduced: f64,
    /// Checking it without reductions.
    pub unreduced: f64,
}

/// What came of one mutant.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name.
    pub mutant: String,
    /// What is wrong with it.
    pub description: String,
    /// The property that refutes it.
    pub property: String,
    /// The scope.
    pub scope: String,
    /// Steps of the counterexample.
    pub steps: usize,
    /// Distinct states visited until it was found.
    pub states: u64,
    /// The same without reductions, where the scope is small.
    pub states_without_reductions: Option<u64>,
    /// Wall time.
    pub seconds: Seconds,
    /// Why it does not count as refuted, if so.
    pub failure: Option<String>,
}

impl Row {
    pub(super) fn new(mutant: &Mutant) -> Row {
        Row {
            mutant: mutant.name.clone(),
            description: mutant.description.clone(),
            property: mutant.property.clone(),
            scope: mutant.scope.clone(),
            steps: 0,
            states: 0,
            states_without_reductions: None,
            seconds: Seconds::default(),
            failure: None,
        }
    }

    /// What came of it, in one line.
    pub(super) fn outcome(&self) -> String {
        let Seconds { build, reduced, unreduced } = self.seconds;
        let mut took = format!("built in {}, checked in {}", duration(build), duration(reduced));
        if unreduced > 0.0 {
            took += &format!(" and, unreduced, in {}", duration(unreduced));
        }
        match &self.failure {
            Some(failure) => format!("FAILED: {failure} ({took})"),
            None => format!("refuted by {} in {} steps ({took})", self.property, self.steps),
        }
    }

    fn cells(&self) -> [String; 7] {
        let found = |number: String| {
            if self.failure.is_some() && self.steps == 0 { "–".into() } else { number }
        };
        [
            self.mutant.clone(),
            self.property.clone(),
            self.scope.clone(),
            found(self.steps.to_string()),
            found(thousands(self.states)),
            self.states_without_reductions.map_or_else(|| "–".into(), thousands),
            duration(self.seconds.reduced + self.seconds.unreduced),
        ]
    }
}

const HEADERS: [&str; 7] = ["mutant", "property", "scope", "steps", "states", "unreduced", "time"];

/// The matrix for people, with what failed below it, and how long it all took.
pub(super) fn text(rows: &[Row], seconds: f64) -> String {
    let lines: Vec<[String; 7]> =
        std::iter::once(HEADERS.map(String::from)).chain(rows.iter().map(Row::cells)).collect();
    let widths: Vec<usize> =
        (0..HEADERS.len()).map(|c| lines.iter().map(|line| line[c].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for line in &lines {
        let cell = |(column, cell): (usize, &String)| {
            let width = widths[column];
            if column < 3 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        };
        text += &line.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ");
        text.push('\n');
    }
    let failed: Vec<&Row> = rows.iter().filter(|row| row.failure.is_some()).collect();
    for row in &failed {
        text += &format!("{}: {}\n", row.mutant, row.outcome());
    }
    let sum = |phase: fn(&Seconds) -> f64| duration(rows.iter().map(|row| phase(&row.seconds)).sum());
    text += &format!(
        "{} of {} refuted by the property that they name, in {}: built in {}, checked in {} and, unreduced, in {}",
        rows.len() - failed.len(),
        rows.len(),
        duration(seconds),
        sum(|s| s.build),
        sum(|s| s.reduced),
        sum(|s| s.unreduced),
    );
    text
}

/// The matrix for a document. Times are left out, since they differ from run to run.
pub(super) fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| mutant | what is wrong | property | scope | steps | states | states without reductions |\n\
         |---|---|---|---|---:|---:|---:|\n",
    );
    for row in rows {
        let [mutant, property, scope, steps, states, unreduced, _] = row.cells();
        let description = row.description.replace('|', "\\|");
        text +=
            &format!("| `{mutant}` | {description} | `{property}` | `{scope}` | {steps} | {states} | {unreduced} |\n");
    }
    text
}

/// `document` with what stands between the two markers replaced by `table`. The error is one line.
pub(super) fn replaced(document: &str, table: &str) -> Result<String, String> {
    let place = document.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = place else {
        return Err(format!("{README} has no place for the matrix: give it the lines {BEGIN} and {END}"));
    };
    Ok(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::{Row, Seconds, markdown, replaced, text};

    fn rows() -> Vec<Row> {
        let found = Row {
            mutant: "forgets".into(),
            description: "an acceptor | forgets".into(),
            property: "promises-kept".into(),
            scope: "one-slot".into(),
            steps: 6,
            states: 1234,
            states_without_reductions: Some(56789),
            seconds: Seconds { build: 5.0, reduced: 9.0, unreduced: 3.0 },
            failure: None,
        };
        let survived = Row { mutant: "idle".into(), steps: 0, failure: Some("survived".into()), ..found.clone() };
        vec![found, Row { states_without_reductions: None, ..survived }]
    }

    #[test]
    fn the_matrix_is_aligned_and_names_what_failed() {
        let expected = "\
mutant   property       scope     steps  states  unreduced    time
forgets  promises-kept  one-slot      6   1,234     56,789  12.0 s
idle     promises-kept  one-slot      –       –          –  12.0 s
idle: FAILED: survived (built in 5.00 s, checked in 9.00 s and, unreduced, in 3.00 s)
1 of 2 refuted by the property that they name, in 20.0 s: built in 10.0 s, checked in 18.0 s and, unreduced, in 6.00 s";
        assert_eq!(text(&rows(), 20.0), expected);
    }

    #[test]
    fn the_document_keeps_everything_around_the_matrix() {
        let document = "a\n<!-- mutants:begin -->\nold\n<!-- mutants:end -->\nb\n";
        let new = replaced(document, &markdown(&rows()[..1])).unwrap();
        let line = "| `forgets` | an acceptor \\| forgets | `promises-kept` | `one-slot` | 6 | 1,234 | 56,789 |\n";
        assert!(new.starts_with("a\n<!-- mutants:begin -->\n| mutant |") && new.ends_with("<!-- mutants:end -->\nb\n"));
        assert!(new.contains(line) && !new.contains("old"), "{new}");
        assert_eq!(replaced(&new, &markdown(&rows()[..1])).unwrap(), new);
        assert!(replaced("nothing", "").unwrap_err().contains("<!-- mutants:begin -->"));
    }
}
