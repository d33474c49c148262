//! Which protocol this program was built from, and whether that is the one that was checked. The build script finds out.

/// A digest over the sources of the model, what they depend on, their features, the profiles and the compiler.
pub const DIGEST: &str = env!("PAXOS_PROTOCOL_DIGEST");
/// Whether that is the digest in the record of the last green check. It guards against drift and not against tampering.
pub const CHECKED: bool = matches!(env!("PAXOS_PROTOCOL_CHECKED").as_bytes(), b"true");
/// One line that says so.
pub const TOLD: &str = env!("PAXOS_PROTOCOL_TOLD");
/// What `--version` says of a program.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\n", env!("PAXOS_PROTOCOL_TOLD"));

/// The error of `--require-checked`, unless `checked`.
pub fn require(checked: bool) -> Result<(), String> {
    if checked { Ok(()) } else { Err(format!("--require-checked: {TOLD}; not started")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_checked_passes() {
        assert_eq!(require(true), Ok(()));
        assert!(require(false).unwrap_err().contains("--require-checked"));
        assert!(TOLD.contains(if CHECKED { ": checked" } else { "NOT checked" }));
    }
}
