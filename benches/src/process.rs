//! A server as a child process: it ends with its handle, and `/proc` tells what it has used.

use anyhow::{Context, Result, anyhow};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The unit in which Linux tells processor time to programs.
const TICK_MS: u64 = 10;

/// Threads of our nodes, by name as the system has it, and what each does; a server of another kind has none of them.
pub(crate) const THREADS: [(&str, &str); 3] = [("tokio-rt-worker", "HTTP, peers"), ("actor", "loop"), ("disk", "disk")];

/// A running server. It is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts `command`; what it says goes to the file `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Server> {
        let output = File::options().create(true).append(true).open(log)?;
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        Ok(Server { child })
    }

    /// Kills it as `kill -9` does, and returns once it is gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Processor time used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu_of(&format!("/proc/{}/stat", self.child.id()))
    }

    /// Processor time used so far by its [`THREADS`], each.
    pub(crate) fn cpu_of_threads(&self) -> Result<[Duration; THREADS.len()]> {
        let directory = format!("/proc/{}/task", self.child.id());
        let mut cpu = [Duration::ZERO; THREADS.len()];
        for thread in fs::read_dir(&directory).with_context(|| directory.clone())? {
            let path = thread?.path();
            // One that has ended meanwhile is none of those.
            let Ok(name) = fs::read_to_string(path.join("comm")) else { continue };
            if let Some(place) = THREADS.iter().position(|(thread, _)| *thread == name.trim_end()) {
                cpu[place] += cpu_of(&path.join("stat").to_string_lossy())?;
            }
        }
        Ok(cpu)
    }

    /// Bytes that it has caused to be written to the disk.
    pub(crate) fn written_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/io", self.child.id());
        field(&fs::read_to_string(&path).with_context(|| path.clone())?, "write_bytes:")
    }

    /// The largest resident memory that it ever had, mapped files included, and what it has now beside mapped files; in bytes.
    pub(crate) fn memory(&self) -> Result<(u64, u64)> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| path.clone())?;
        Ok((field(&status, "VmHWM:")? << 10, field(&status, "RssAnon:")? << 10))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Processor time that this process, which is the load generator, has used so far.
pub(crate) fn own_cpu() -> Result<Duration> {
    cpu_of("/proc/self/stat")
}

/// Processor time that everything on this machine together has used so far, the handling of interrupts included.
pub(crate) fn machine_cpu() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).ok_or_else(|| anyhow!("/proc/stat"))?;
    let ticks: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    // user, nice, system, idle, iowait, irq, softirq
    let busy = ticks.iter().zip([1, 1, 1, 0, 0, 1, 1]).map(|(ticks, counts)| ticks * counts);
    Ok(Duration::from_millis(busy.sum::<u64>() * TICK_MS))
}

fn cpu_of(path: &str) -> Result<Duration> {
    let stat = fs::read_to_string(path).with_context(|| path.to_owned())?;
    // The name of the program comes before, and may hold anything.
    let fields = stat.rsplit_once(')').ok_or_else(|| anyhow!("{path} has another form"))?.1.split_whitespace();
    let ticks: Vec<u64> = fields.skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks.iter().sum::<u64>() * TICK_MS))
}

fn field(text: &str, name: &str) -> Result<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(|| anyhow!("there is no {name}"))?;
    Ok(rest.trim().trim_end_matches("kB").trim().parse()?)
}
