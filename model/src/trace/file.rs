//! The names of a trace's files.

use std::fmt;

/// What the name of a file says: `node0-life000003-file0002.ndjson`, or `…-cut.ndjson` if it could not be written to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName {
    /// Whose it is.
    pub node: u64,
    /// Which of its lives, and which file of that life.
    pub number: (u64, u64),
    /// Whether it ends before its node ended to write.
    pub cut: bool,
}

impl FileName {
    /// What `name` says, without a directory; none if it is no such name.
    pub fn parse(name: &str) -> Option<FileName> {
        let rest = name.strip_prefix("node")?.strip_suffix(".ndjson")?;
        let (node, rest) = rest.split_once("-life")?;
        let (rest, cut) = rest.strip_suffix("-cut").map_or((rest, false), |rest| (rest, true));
        let (life, file) = rest.split_once("-file")?;
        Some(FileName { node: node.parse().ok()?, number: (life.parse().ok()?, file.parse().ok()?), cut })
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileName { node, number: (life, file), cut } = self;
        write!(f, "node{node}-life{life:06}-file{file:04}{}.ndjson", if *cut { "-cut" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_it_was_made_of() {
        for (name, text) in [
            (FileName { node: 0, number: (3, 2), cut: false }, "node0-life000003-file0002.ndjson"),
            (FileName { node: 12, number: (1_234_567, 0), cut: true }, "node12-life1234567-file0000-cut.ndjson"),
        ] {
            assert_eq!(name.to_string(), text);
            assert_eq!(FileName::parse(text), Some(name));
        }
        for text in ["node0-life1.ndjson", "node-life1-file1.ndjson", "node0-life1-file1", "lock", ""] {
            assert_eq!(FileName::parse(text), None, "{text:?}");
        }
    }
}
