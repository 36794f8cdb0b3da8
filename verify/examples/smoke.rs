//! smoke
use qk256_verify::*;
fn main() {
    let mut h = Harness::new(None);
    let kernels = registry::kernels();
    let n: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let t = std::time::Instant::now();
    let mut prep = std::time::Duration::ZERO;
    let mut counts = rung::RungCounts::default();
    let (mut over, mut legal) = (0, 0);
    let mut seen = std::collections::HashSet::new();
    for i in 0..n {
        for op in Operation::ALL {
            let case = case::from_seed(op, 1, i);
            let t0 = std::time::Instant::now();
            let p = h.prepare(&case).unwrap();
            prep += t0.elapsed();
            assert_eq!(case.to_string().parse::<Case>().unwrap(), case);
            if p.is_legal() {
                legal += 1
            } else {
                over += 1
            }
            for k in kernels.iter().filter(|k| k.operation() == op) {
                let trial = h.examine(k.as_ref(), &p);
                counts.merge(&trial.rungs);
                for f in trial.failures {
                    if seen.insert((k.name().to_owned(), op, f.rung)) {
                        let f = Finding::new(k.as_ref(), &case, None, f);
                        let t0 = std::time::Instant::now();
                        println!("{f}\nMIN {}\n", h.minimize(k.as_ref(), &f));
                        println!("{:?}", t0.elapsed());
                    }
                }
            }
        }
    }
    println!("{:?} prep {prep:?} legal {legal} wrong {over}", t.elapsed());
    for r in counts.applied() {
        println!("{r} {}", counts.of(r));
    }
}
