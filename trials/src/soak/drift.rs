//! Whether what is looked at in windows grows: the last third of them beside the first, which has to warm up.

/// The medians of the first third and of the last, where there are enough windows to tell.
pub(super) fn thirds(values: &[u64]) -> Option<(u64, u64)> {
    let third = values.len() / 3;
    (third >= 2).then(|| (median(&values[1..=third]), median(&values[values.len() - third..])))
}

fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_window_and_single_peaks_are_no_drift_and_what_grows_is() {
        assert_eq!(thirds(&[90, 10, 10, 80, 10, 10, 10]), Some((10, 10)));
        assert_eq!(thirds(&[0, 10, 11, 12, 13, 14, 15]), Some((11, 15)));
        assert_eq!(thirds(&[0, 10, 11, 12, 13]), None);
    }
}
