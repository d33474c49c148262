//! `check replay`: traces of deployed nodes.

use super::Console;
use super::explore::free;
use crate::record;
use crate::replay::{NAME, Playback, Replayed, replay};
use crate::report::progress::ProgressLine;
use crate::report::table::{duration, thousands};
use crate::report::{files, story};
use std::path::PathBuf;
use std::time::Instant;

#[allow(clippy::disallowed_methods, reason = "the time is shown; nothing depends on it")]
fn now() -> Instant {
    Instant::now()
}

/// Replays `paths`; with an address it serves the last steps afterwards.
pub(super) fn run(paths: &[PathBuf], address: Option<&str>, console: &mut Console<'_>) -> Result<u8, String> {
    let address = address.map(free).transpose()?;
    files::prepare(console.root)?;
    let begin = now();
    let mut line = ProgressLine::new(console.err, console.err_is_terminal, NAME, 1, 1);
    let replayed = replay(paths, &mut |steps| {
        line.say(begin.elapsed().as_secs_f64(), || format!("{} steps", thousands(steps)));
    });
    drop(line);
    let replayed = replayed?;
    console.say(&summary(&replayed, begin.elapsed().as_secs_f64()));
    if record::fingerprint(console.root)?.protocol != replayed.protocol {
        console.say("The nodes were built from another protocol than these sources: what differs may be due to that.");
    }
    files::remove(console.root, NAME)?;
    if let Some(example) = replayed.counterexample() {
        let written = files::write_counterexample(console.root, &example)?;
        console.say(&format!("\n{}\n{}", story::story(&example), written.join(" ")));
    }
    if let Some(address) = address {
        let playback = Playback::new(&replayed);
        console.say(&format!("Explorer of the last steps: http://{address}/{} (Ctrl-C ends it)", playback.page()));
        playback.serve(address);
    }
    Ok(u8::from(!replayed.broken.is_empty()))
}

/// What was replayed, and what came of each rule.
fn summary(replayed: &Replayed, seconds: f64) -> String {
    let mut lines = vec![format!(
        "cluster {}: {} nodes, {} lives, {} steps taken again, {} commits, {} slots chosen, {}",
        replayed.cluster,
        replayed.nodes,
        replayed.lives,
        thousands(replayed.steps),
        thousands(replayed.commits),
        thousands(replayed.chosen as u64),
        duration(seconds),
    )];
    if replayed.nowhere > 0 {
        lines.push(format!("{} messages were sent by whom the traces do not tell of", thousands(replayed.nowhere)));
    }
    for rule in &replayed.rules {
        let broken = replayed.broken.iter().any(|(name, _)| name == rule.name);
        let verdict = if broken { "VIOLATED" } else { "holds" };
        let limited = rule.limited.map(|why| format!("  ({why})")).unwrap_or_default();
        lines.push(format!("{verdict:<8}  {}{limited}", rule.name));
    }
    if !replayed.broken.is_empty() {
        lines.push("The replay ended there.".into());
    }
    lines.join("\n")
}
