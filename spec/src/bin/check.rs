//! `check`: see [`paxos_spec::cli`].

fn main() -> std::process::ExitCode {
    paxos_spec::cli::main(&paxos_spec::scopes::run::Scopes)
}
