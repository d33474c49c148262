//! temp
use paxos_spec::engine::*;
use paxos_spec::scopes::*;
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let secs: u64 = args[0].parse().unwrap();
    let reduce = std::env::var("NORED").is_err();
    for s in catalogue::scopes() {
        if args.len() > 1 && !args[1..].iter().any(|a| s.name == a) {
            continue;
        }
        let sys = s.system(Variation { salt: 0, reduce });
        let o = run(
            &sys,
            &RunOptions {
                threads: 2,
                strategy: Strategy::Dfs,
                limits: Limits {
                    time: Some(std::time::Duration::from_secs(secs)),
                    unique: None,
                    memory: Some(4 << 30),
                },
            },
            |_| {},
        );
        println!(
            "{:24} unique {:9} gen {:10} depth {:4} {:6.1}s {:5.0}k/s {}MB exhausted {} {:?} sizes {:?}",
            s.name,
            o.unique,
            o.generated,
            o.depth,
            o.seconds,
            o.rate() / 1000.0,
            o.memory_max >> 20,
            o.exhausted,
            o.violations,
            sys.universe().sizes()
        );
        let missing: Vec<_> = sys
            .predicates()
            .iter()
            .filter(|p| p.expectation == stateright::Expectation::Sometimes && !o.discoveries.contains_key(p.name))
            .map(|p| p.name)
            .collect();
        if !missing.is_empty() {
            println!("   missing {missing:?}");
        }
        for r in sys.universe().revived().iter().take(2) {
            println!("REVIVED {}", r.chars().take(1200).collect::<String>());
        }
        if std::env::var("SHORT").is_ok() {
            continue;
        }
        for v in &o.violations {
            let p = shorten(
                &sys,
                v,
                o.discoveries[v].len(),
                &RunOptions {
                    threads: 1,
                    limits: Limits { time: Some(std::time::Duration::from_secs(20)), ..Default::default() },
                    ..Default::default()
                },
            )
            .unwrap_or(o.discoveries[v].clone());
            println!("--- {v}: {} steps", p.len());
            for r in replay(&sys, &p) {
                println!(
                    "  {}\n       sends {:?} broken {:b}",
                    sys.name(&r.action),
                    r.sends.iter().map(|(d, m, _)| (d, m)).collect::<Vec<_>>(),
                    r.broken
                );
            }
            for st in walk(&sys, &p).iter().rev().take(1) {
                println!("{}", sys.universe().ghost().no_progress(&sys.view(st)).unwrap_or_default());
            }
        }
    }
    print!("UNREACHED ");
    for m in paxos_model::mark::Mark::ALL {
        if !m.reached() {
            print!("{m:?} ");
        }
    }
    println!();
}
