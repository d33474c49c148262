//! `check`: see [`paxos_spec::cli`].

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    paxos_spec::cli::main(&paxos_spec::scopes::run::Scopes)
}
