//! Lines that are printed: what, how much, how much is wanted.

use super::meter::Cost;
use std::time::Duration;

/// The least, by CPU time or by wall time: whatever else the machine does only adds.
pub fn least(costs: Vec<Cost>, by: impl Fn(&Cost) -> Duration) -> Cost {
    costs.into_iter().min_by_key(by).expect("it was measured")
}

/// A heading.
pub fn title(text: &str) {
    println!("\n{text}");
}

/// CPU a byte, and throughput.
pub fn bytes(what: &str, cost: &Cost, bytes: usize) {
    println!("{what:<44} {:>7.2} ns CPU/byte {:>7.0} MB/s", cost.ns_per_byte(bytes), cost.mb_per_second(bytes));
}

/// A figure in some unit, and whether it is at most what is wanted.
pub fn at_most(what: &str, is: f64, wanted: f64, unit: &str) {
    let verdict = if is <= wanted { "ok" } else { "MISSED" };
    println!("{what:<44} {is:>7.2} {unit}, wanted: at most {wanted:.2}: {verdict}");
}

/// A figure in some unit, and whether it is at least what is wanted.
pub fn at_least(what: &str, is: f64, wanted: f64, unit: &str) {
    let verdict = if is >= wanted { "ok" } else { "MISSED" };
    println!("{what:<44} {is:>7.0} {unit}, wanted: at least {wanted:.0}: {verdict}");
}

/// Wall time and CPU time.
pub fn times(what: &str, cost: &Cost) {
    println!("{what:<44} {:>7.2} s, {:.2} s CPU", cost.wall.as_secs_f64(), cost.cpu.as_secs_f64());
}
