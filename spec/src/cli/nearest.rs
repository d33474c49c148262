//! The answer to a name that nothing has.

/// Names that are close enough to be meant are at least this similar, of 1.
const SIMILAR: f64 = 0.75;
/// And at most this much less so than the nearest one.
const WORSE: f64 = 0.1;

/// Says in one line that there is no `kind` called `name`, and which of `known` are nearest.
pub(crate) fn unknown(kind: &str, name: &str, known: &[&str], list_with: &str) -> String {
    let mut near: Vec<(f64, &str)> = known.iter().map(|other| (similarity(name, other), *other)).collect();
    let best = near.iter().map(|(similarity, _)| *similarity).fold(0.0, f64::max);
    near.retain(|(similarity, _)| *similarity >= SIMILAR.max(best - WORSE));
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let names: Vec<String> = near.iter().take(3).map(|(_, other)| format!("`{other}`")).collect();
    match names.as_slice() {
        [] => format!("there is no {kind} `{name}`; {list_with} shows all"),
        [only] => format!("there is no {kind} `{name}`; nearest is {only}; {list_with} shows all"),
        several => format!("there is no {kind} `{name}`; nearest are {}; {list_with} shows all", several.join(", ")),
    }
}

fn similarity(name: &str, other: &str) -> f64 {
    let (name, other) = (name.to_lowercase(), other.to_lowercase());
    let part = name.len() >= 3 && (other.contains(&name) || name.contains(&other));
    strsim::jaro_winkler(&name, &other).max(if part { 0.9 } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::unknown;

    #[test]
    fn the_nearest_names_come_first() {
        let known = ["one-slot", "two-slots", "five-replicas", "explore"];
        assert_eq!(
            unknown("scope", "one-slto", &known, "--list"),
            "there is no scope `one-slto`; nearest is `one-slot`; --list shows all"
        );
        assert!(unknown("scope", "slot", &known, "--list").contains("nearest are `one-slot`, `two-slots`;"));
        assert!(unknown("scope", "explor", &known, "--list").contains("`explore`"));
        assert_eq!(unknown("scope", "zzz", &known, "--list"), "there is no scope `zzz`; --list shows all");
    }
}
