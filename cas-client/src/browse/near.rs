//! What a person may have meant: names that differ little from the one that is not there.

/// How many are worth telling.
const FEW: usize = 3;

/// Those of `names` that are close to `wanted`, the closest first.
pub(super) fn near<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let lower = wanted.to_lowercase();
    let mut close: Vec<(usize, &str)> = names
        .filter_map(|name| {
            let last = name.rsplit('/').next().unwrap_or(name);
            let distance = [name, last].map(|n| distance(&lower, &n.to_lowercase())).into_iter().min()?;
            (distance <= 1 + lower.chars().count() / 4).then_some((distance, name))
        })
        .collect();
    close.sort_unstable();
    close.dedup();
    close.into_iter().take(FEW).map(|(_, name)| name.to_owned()).collect()
}

/// How many letters have to be put in, taken out, changed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(rows[i - 2][j - 2] + 1);
            }
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_are_understood_and_other_names_are_not() {
        let names = ["laptop/documents", "laptop/pictures", "kernel", "a"];
        let meant = |wanted: &str| near(wanted, names.into_iter());
        assert_eq!(meant("krnel"), ["kernel"]);
        assert_eq!(meant("kenrel"), ["kernel"]);
        assert_eq!(meant("Documents"), ["laptop/documents"]);
        assert_eq!(meant("laptop/dokuments"), ["laptop/documents"]);
        assert!(meant("database").is_empty());
        assert_eq!((distance("", "abc"), distance("ab", "ba"), distance("abc", "abc")), (3, 1, 0));
    }
}
