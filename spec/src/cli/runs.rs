//! Runs scopes: the small ones side by side, each on one thread, since their threads would wait for one another; then the larger ones
//! one after the other, each on all.

use super::{Catalogue, Console, RunOptions, ScopeRun, check::tell};
use crate::report::{
    CounterexampleSummary,
    progress::{Progress, ProgressLine},
    table,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// A scope to be run.
pub(super) struct Task {
    /// Its name.
    pub(super) name: String,
    /// How.
    pub(super) options: RunOptions,
    /// Whether it is small.
    pub(super) small: bool,
}

enum Event {
    Progress(Progress),
    Ended(Box<ScopeRun>),
}

/// Runs all of them, and tells what each came to as it ends. What they came to is in their order.
pub(super) fn run_all(
    catalogue: &dyn Catalogue,
    tasks: &[Task],
    console: &mut Console<'_>,
) -> Result<(Vec<ScopeRun>, Vec<CounterexampleSummary>), String> {
    let mut ended: Vec<Option<ScopeRun>> = tasks.iter().map(|_| None).collect();
    let mut examples = Vec::new();
    let mut end = |console: &mut Console<'_>, index: usize, run: ScopeRun| {
        examples.extend(tell(console, &run)?);
        ended[index] = Some(run);
        Ok::<(), String>(())
    };
    let small: Vec<usize> = (0..tasks.len()).filter(|index| tasks[*index].small).collect();
    let workers = small.first().map_or(0, |index| tasks[*index].options.threads.min(small.len()));
    let together = workers > 1;
    if together {
        side_by_side(catalogue, tasks, (&small, workers), console, &mut end)?;
    }
    for (index, task) in tasks.iter().enumerate().filter(|(_, task)| !(together && task.small)) {
        let run = with_progress(console, &task.name, (index + 1, tasks.len()), |progress| {
            catalogue.run(&task.name, &task.options, progress)
        });
        end(console, index, run)?;
    }
    Ok((ended.into_iter().flatten().collect(), examples))
}

fn side_by_side(
    catalogue: &dyn Catalogue,
    tasks: &[Task],
    (small, workers): (&[usize], usize),
    console: &mut Console<'_>,
    end: &mut dyn FnMut(&mut Console<'_>, usize, ScopeRun) -> Result<(), String>,
) -> Result<(), String> {
    let next = AtomicUsize::new(0);
    let (sender, events) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..workers {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some(index) = small.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
                    let options = RunOptions { threads: 1, ..tasks[index].options.clone() };
                    // Nobody listens any more where something could not be written: then the rest is not run either.
                    let mut told = true;
                    let run = catalogue.run(&tasks[index].name, &options, &mut |progress| {
                        told &= sender.send((index, Event::Progress(progress))).is_ok();
                    });
                    if !told || sender.send((index, Event::Ended(Box::new(run)))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut event = events.recv();
        while let Ok((index, of)) = event {
            let mut shown = line(console, tasks, index);
            // One is shown until any ends.
            let mut of = Some((index, of));
            let ended = loop {
                match of {
                    Some((other, Event::Progress(progress))) if other == index => shown.show(progress),
                    Some((_, Event::Progress(_))) => {}
                    Some((other, Event::Ended(run))) => break Some((other, *run)),
                    None => break None,
                }
                of = events.recv().ok();
            };
            let Some((other, run)) = ended else { break };
            if other == index {
                shown.finish(&outcome(&run));
            } else {
                drop(shown);
                line(console, tasks, other).finish(&outcome(&run));
            }
            end(console, other, run)?;
            event = events.recv();
        }
        Ok(())
    })
}

fn line<'a>(console: &'a mut Console<'_>, tasks: &[Task], index: usize) -> ProgressLine<'a> {
    let (terminal, number) = (console.err_is_terminal, index + 1);
    ProgressLine::new(&mut *console.err, terminal, &tasks[index].name, number, tasks.len())
}

fn outcome(run: &ScopeRun) -> String {
    let (states, seconds) = (table::thousands(run.report.unique_states), table::duration(run.report.seconds));
    format!("{states} states, {seconds}: {}", table::verdict(&run.report))
}

/// Runs `work`, the `number`-th of `count`, with a line of progress.
pub(super) fn with_progress(
    console: &mut Console<'_>,
    name: &str,
    (number, count): (usize, usize),
    work: impl FnOnce(&mut dyn FnMut(Progress)) -> ScopeRun,
) -> ScopeRun {
    let mut line = ProgressLine::new(&mut *console.err, console.err_is_terminal, name, number, count);
    let run = work(&mut |progress| line.show(progress));
    line.finish(&outcome(&run));
    run
}
