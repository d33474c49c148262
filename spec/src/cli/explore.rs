//! Walking through a scope: in a browser, or at random.

use super::{
    Catalogue, Console, SimulateOptions,
    check::{find, tell},
    runs::with_progress,
};
use crate::report::{ScopeReport, Verdict, files, table};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

pub(super) fn explore(
    catalogue: &dyn Catalogue,
    scope: &str,
    address: &str,
    console: &mut Console<'_>,
) -> Result<u8, String> {
    let scopes = catalogue.scopes();
    let name = &find(&scopes, scope)?.name;
    let address = free(address)?;
    if let Err(broken) = catalogue.begin(name) {
        let _ = writeln!(console.err, "check: `{name}` cannot be explored: {broken}; `check {name}` tells more");
        return Ok(1);
    }
    console.say(&format!("Explorer of scope `{name}`, listening on http://{address}/ (Ctrl-C ends it)"));
    catalogue.explore(name, address).map_err(|error| format!("the Explorer on {address} failed: {error}"))?;
    Ok(0)
}

/// The address to listen on, which nobody else uses; port 0 stands for any free port.
pub(super) fn free(address: &str) -> Result<SocketAddr, String> {
    let advice = "give another with --address HOST:PORT";
    let mut resolved = address.to_socket_addrs().map_err(|error| format!("--address {address}: {error}; {advice}"))?;
    let address = resolved.next().ok_or_else(|| format!("--address {address}: no such host; {advice}"))?;
    let listener = TcpListener::bind(address);
    let bound = listener.and_then(|listener| listener.local_addr());
    bound.map_err(|error| {
        let stop = if error.kind() == ErrorKind::AddrInUse { "stop who does, or " } else { "" };
        format!("cannot listen on {address}: {error}; {stop}{advice}")
    })
}

pub(super) fn simulate(
    catalogue: &dyn Catalogue,
    scope: &str,
    options: &SimulateOptions,
    console: &mut Console<'_>,
) -> Result<u8, String> {
    let scopes = catalogue.scopes();
    let name = &find(&scopes, scope)?.name;
    files::prepare(console.root)?;
    let run = with_progress(console, name, (1, 1), |progress| catalogue.simulate(name, options, progress));
    tell(console, &run)?;
    console.say(&summary(&run.report));
    let violated = run.report.properties.iter().any(|property| property.verdict == Verdict::Violated);
    Ok(u8::from(violated))
}

/// What random runs came to. They count no states, and prove nothing.
fn summary(scope: &ScopeReport) -> String {
    let named = |wanted: Verdict| -> Vec<&str> {
        scope.properties.iter().filter(|p| p.verdict == wanted).map(|p| p.name.as_str()).collect()
    };
    let list = |names: Vec<&str>| if names.is_empty() { "nothing".to_string() } else { names.join(", ") };
    format!(
        "{}: {}, {} steps, at most {} in a run, {}\nbroken: {}\nseen: {}\nRandom runs can refute, and prove nothing.",
        scope.name,
        scope.why_incomplete.as_deref().unwrap_or("visited whole"),
        table::thousands(scope.generated_states),
        scope.depth,
        table::duration(scope.seconds),
        list(named(Verdict::Violated)),
        list(named(Verdict::Witnessed)),
    )
}
