//! The program that replays traces.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

/// Where it is. It is another package's, so it is built here in case the tests of this one alone are run.
pub(crate) fn check() -> PathBuf {
    static BUILT: Once = Once::new();
    BUILT.call_once(build);
    Path::new(env!("CARGO_BIN_EXE_node")).with_file_name("check")
}

fn build() {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "--bin", "check"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(build.status().expect("cargo runs").success(), "`check` cannot be built");
}
