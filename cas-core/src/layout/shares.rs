//! Shares: how many of so many places each one gets, by weight, within bounds, in whole numbers.
//!
//! A water level rises over all until the places are used up: each holds level × weight, within its bounds. Only
//! additions, multiplications, divisions and comparisons of f64 are used, which give equal results everywhere.

/// One who gets a share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    /// Share per level.
    pub weight: f64,
    /// At least so much.
    pub least: f64,
    /// At most so much.
    pub most: f64,
    /// What it has now: where rounding is free, it falls this way.
    pub now: u32,
}

/// Halvings of the interval in which the level lies.
const STEPS: usize = 200;

/// The level at which `held(level)`, which rises with it, is `total`; the bounds allow it.
pub(super) fn level(total: f64, held: impl Fn(f64) -> f64) -> f64 {
    let mut high = 1.0;
    let mut doublings = 0;
    while held(high) < total && doublings < STEPS {
        high *= 2.0;
        doublings += 1;
    }
    let mut low = 0.0;
    for _ in 0..STEPS {
        let middle = (low + high) / 2.0;
        if held(middle) < total { low = middle } else { high = middle }
    }
    high
}

impl Claim {
    /// What it holds at a level.
    pub(super) fn at(&self, level: f64) -> f64 {
        (self.weight * level).max(self.least).min(self.most)
    }
}

/// Shares of `total` places. The sum is `total` if the bounds allow it.
pub(super) fn shares(claims: &[Claim], total: u32) -> Vec<u32> {
    let level = level(f64::from(total), |level| claims.iter().map(|claim| claim.at(level)).sum());
    let exact: Vec<f64> = claims.iter().map(|claim| claim.at(level)).collect();
    rounded(&exact, claims, total)
}

/// Rounds up those who have more already, then those with the largest fractions; never beyond their bounds.
pub(super) fn rounded(exact: &[f64], claims: &[Claim], total: u32) -> Vec<u32> {
    // A hair above a whole number is that number: the level is known to the last bit only.
    let mut out: Vec<u32> = exact.iter().map(|share| (share + 1e-6).floor() as u32).collect();
    let mut order: Vec<usize> = (0..claims.len()).collect();
    let keeps = |i: usize| claims[i].now > out[i];
    let fraction = |i: usize| exact[i] - exact[i].floor();
    order.sort_by(|a, b| keeps(*b).cmp(&keeps(*a)).then(fraction(*b).total_cmp(&fraction(*a))).then(a.cmp(b)));
    let mut left = total.saturating_sub(out.iter().sum());
    while left > 0 {
        let before = left;
        for i in &order {
            if left > 0 && f64::from(out[*i] + 1) <= claims[*i].most + 1e-6 && claims[*i].weight > 0.0 {
                out[*i] += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(weight: f64, most: f64, now: u32) -> Claim {
        Claim { weight, least: 0.0, most, now }
    }

    #[test]
    fn shares_follow_weights_within_bounds_and_lose_nothing() {
        assert_eq!(shares(&[claim(1.0, 100.0, 0), claim(3.0, 100.0, 0)], 40), [10, 30]);
        assert_eq!(shares(&[claim(1.0, 100.0, 0), claim(9.0, 20.0, 0)], 40), [20, 20]);
        let least = Claim { weight: 1.0, least: 30.0, most: 100.0, now: 0 };
        assert_eq!(shares(&[least, claim(9.0, 100.0, 0)], 40), [30, 10]);
        assert_eq!(shares(&[claim(0.0, 100.0, 0), claim(1.0, 100.0, 0)], 7), [0, 7]);
    }

    #[test]
    fn rounding_leaves_a_place_where_it_is() {
        assert_eq!(shares(&[claim(1.0, 9.0, 0), claim(1.0, 9.0, 2), claim(1.0, 9.0, 0)], 4), [1, 2, 1]);
    }
}
