//! What is shown while a scope runs: a line that is rewritten on a terminal, a line every ten seconds elsewhere. Both go to standard error.

use super::table::{duration, thousands};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;

/// Seconds between two lines where there is no terminal.
const LINE_EVERY_SECONDS: f64 = 10.0;

/// How far a scope is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Distinct states so far.
    pub unique_states: u64,
    /// Transitions so far.
    pub generated_states: u64,
    /// The longest path followed so far.
    pub depth: u64,
    /// States that wait to be expanded, where the engine knows.
    pub queue: Option<u64>,
    /// Wall time since the scope began.
    pub seconds: f64,
}

/// Shows the progress of one scope. It is erased when it is dropped; lines stay.
pub struct ProgressLine<'a> {
    bar: Option<ProgressBar>,
    lines: &'a mut dyn Write,
    title: String,
    last_line_seconds: f64,
}

impl<'a> ProgressLine<'a> {
    /// Begins scope `name`, the `number`-th of `count`.
    pub fn new(lines: &'a mut dyn Write, terminal: bool, name: &str, number: usize, count: usize) -> Self {
        let bar = terminal.then(|| {
            let style = ProgressStyle::with_template("{spinner} {prefix}: {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::new_spinner().with_style(style)
        });
        let title = format!("[{number}/{count}] {name}");
        if let Some(bar) = &bar {
            bar.set_prefix(title.clone());
            bar.set_message("begins");
            bar.tick();
        }
        ProgressLine { bar, lines, title, last_line_seconds: 0.0 }
    }

    /// Shows `progress`, at most as often as is readable.
    pub fn show(&mut self, progress: Progress) {
        self.say(progress.seconds, || described(&progress));
    }

    /// Shows how far something else is after so many seconds, at most as often as is readable.
    pub fn say(&mut self, seconds: f64, how_far: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_message(how_far());
            bar.tick();
        } else if seconds - self.last_line_seconds >= LINE_EVERY_SECONDS {
            self.last_line_seconds = seconds;
            let _ = writeln!(self.lines, "{}: {}", self.title, how_far());
        }
    }

    /// Ends the scope with one line that stays.
    pub fn finish(mut self, outcome: &str) {
        self.clear();
        let _ = writeln!(self.lines, "{}: {outcome}", self.title);
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for ProgressLine<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

fn described(progress: &Progress) -> String {
    let rate = if progress.seconds > 0.0 { progress.generated_states as f64 / progress.seconds } else { 0.0 };
    let queue = progress.queue.map(|queue| format!(", queue {}", thousands(queue))).unwrap_or_default();
    format!(
        "{} states, {} transitions ({} k/s), depth {}{queue}, {}",
        thousands(progress.unique_states),
        thousands(progress.generated_states),
        thousands((rate / 1000.0) as u64),
        progress.depth,
        duration(progress.seconds),
    )
}

#[cfg(test)]
mod tests {
    use super::{Progress, ProgressLine};

    #[test]
    fn without_a_terminal_there_is_a_line_every_ten_seconds() {
        let mut lines = Vec::new();
        let mut line = ProgressLine::new(&mut lines, false, "one-slot", 2, 5);
        for second in 0..=25 {
            let generated_states = second * 50_000;
            line.show(Progress {
                unique_states: 7,
                generated_states,
                depth: 3,
                queue: Some(1234),
                seconds: second as f64,
            });
        }
        line.finish("all 2 hold");
        let expected = "\
[2/5] one-slot: 7 states, 500,000 transitions (50 k/s), depth 3, queue 1,234, 10.0 s
[2/5] one-slot: 7 states, 1,000,000 transitions (50 k/s), depth 3, queue 1,234, 20.0 s
[2/5] one-slot: all 2 hold
";
        assert_eq!(String::from_utf8(lines).unwrap(), expected);
    }
}
