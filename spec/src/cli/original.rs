//! `check original`: the Go original, which the check must refute.

use super::{Catalogue, Console, RunOptions, check::tell, runs::with_progress};
use crate::report::{Verdict, files};

pub(super) fn run(catalogue: &dyn Catalogue, console: &mut Console<'_>) -> Result<u8, String> {
    let exhibits = catalogue.exhibits();
    if exhibits.is_empty() {
        return Err("there is no exhibit to refute".into());
    }
    files::prepare(console.root)?;
    let mut lines = Vec::new();
    for (index, exhibit) in exhibits.iter().enumerate() {
        let mut run = with_progress(console, &exhibit.scope, (index + 1, exhibits.len()), |progress| {
            catalogue.run(&exhibit.scope, &RunOptions::default(), progress)
        });
        run.counterexamples.retain(|example| example.property == exhibit.property);
        let told = tell(console, &run)?;
        let verdict = run.report.properties.iter().find(|property| property.name == exhibit.property);
        let refuted = verdict.is_some_and(|property| property.verdict == Verdict::Violated);
        lines.push(match (refuted, told.first()) {
            (true, Some(example)) => {
                let files = example.files.join(" ");
                (true, format!("refuted   {} by {}, {} steps: {files}", exhibit.claim, exhibit.property, example.steps))
            }
            (true, None) => (true, format!("refuted   {} by {}", exhibit.claim, exhibit.property)),
            (false, _) => (false, format!("SURVIVED  {}: {} was not found violated", exhibit.claim, exhibit.property)),
        });
    }
    for (_, line) in &lines {
        console.say(line);
    }
    Ok(u8::from(!lines.iter().all(|(refuted, _)| *refuted)))
}
