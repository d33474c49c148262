//! Walking through a scope: in a browser, or at random.

use super::{
    Catalogue, Console, SimulateOptions,
    check::{find, tell, with_progress},
};
use crate::report::{RunReport, Totals, Verdict, files, table};
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
    console.say(&format!("Explorer of scope `{name}`: http://{address}/ (Ctrl-C ends it)"));
    catalogue.explore(name, address).map_err(|error| format!("the Explorer on {address} failed: {error}"))?;
    Ok(0)
}

/// The address to listen on, which nobody else uses; port 0 stands for any free port.
fn free(address: &str) -> Result<SocketAddr, String> {
    let advice = "give another with --address HOST:PORT";
    let mut resolved = address.to_socket_addrs().map_err(|error| format!("--address {address}: {error}; {advice}"))?;
    let address = resolved.next().ok_or_else(|| format!("--address {address}: no such host; {advice}"))?;
    let listener = TcpListener::bind(address);
    let bound = listener.and_then(|listener| listener.local_addr());
    bound.map_err(|error| format!("cannot listen on {address}: {error}; stop who does, or {advice}"))
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
    let counterexamples = tell(console, &run)?;
    let violated = run.report.properties.iter().any(|property| property.verdict == Verdict::Violated);
    let scopes = vec![run.report];
    let exit_status = u8::from(violated);
    let report =
        RunReport { totals: Totals::of(&scopes), scopes, marks: None, counterexamples, record: None, exit_status };
    console.say(&format!("\n{}", table::table(&report, console.out_is_terminal).trim_end()));
    console.say(&format!("random runs with seed {}: they can refute, and prove nothing", options.seed));
    Ok(exit_status)
}
