//! Sorting by numbers. A browser's program, which every visitor downloads, would hold a sort of 6 KB for each type that is
//! sorted; here one sort of numbers serves all.

/// Sorts by a number; what has the same one keeps its order.
pub fn sort_by_number<T>(items: &mut Vec<T>, number: impl Fn(&T) -> u128) {
    let mut order: Vec<(u128, usize)> = items.iter().map(number).zip(0..).collect();
    order.sort_unstable();
    let mut from: Vec<Option<T>> = items.drain(..).map(Some).collect();
    items.extend(order.iter().filter_map(|(_, at)| from.get_mut(*at)?.take()));
}

/// Two numbers as one, which sorts by the first and then by the second.
pub fn pair(first: u64, second: u64) -> u128 {
    u128::from(first) << 64 | u128::from(second)
}

#[cfg(test)]
mod tests {
    #[test]
    fn sorts_as_the_standard_librarys_stable_sort() {
        let mut items: Vec<(u64, u64, usize)> =
            (0..300).map(|i| (i * 7919 % 13, i * 104_729 % 5, i as usize)).collect();
        let mut expected = items.clone();
        expected.sort_by_key(|(a, b, _)| (*a, *b));
        super::sort_by_number(&mut items, |(a, b, _)| super::pair(*a, *b));
        assert_eq!(items, expected);
    }
}
