//! Whether the next message that Dust writes is a large one: it asks for a buffer before it says what for.
//!
//! Samples, HEARTBEATs and ACKNACKs take turns: so many large ones for so many readers, or one that answers each that came, after
//! its ACKNACK. So what came after the last four messages when they were last like that comes again, as a processor
//! foretells branches. Rejected: that all are large after one that was, for a HEARTBEAT took what a sample would; and that
//! only the next is, for every answer was copied.

/// What came after the last four messages, whatever they were.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forecast {
    /// A bit for each of the last four, set if it was large; the last is the lowest.
    last: usize,
    /// A bit for each value of `last`, set if a large one came after it.
    after: u16,
}

impl Default for Forecast {
    /// What is like nothing before is like the last message.
    fn default() -> Self {
        Self { last: 0, after: 0b1010_1010_1010_1010 }
    }
}

impl Forecast {
    /// Whether the next message is large, as far as can be foretold.
    pub(crate) const fn is_large(self) -> bool {
        self.after >> self.last & 1 == 1
    }

    /// What it was.
    pub(crate) fn note(&mut self, large: bool) {
        let bit = 1 << self.last;
        self.after = if large { self.after | bit } else { self.after & !bit };
        self.last = (self.last << 1 | usize::from(large)) & 0b1111;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_turns_of_up_to_five_is_foretold_after_five_rounds() {
        for len in 1..=5 {
            for turns in 0..1_u32 << len {
                let mut forecast = Forecast::default();
                let large = |index: u32| turns >> (index % len) & 1 == 1;
                for index in 0..12 * len {
                    assert!(index < 5 * len || forecast.is_large() == large(index), "{turns:b} at {index}");
                    forecast.note(large(index));
                }
            }
        }
    }

    #[test]
    fn one_message_that_is_not_like_the_others_is_not_taken_for_a_change() {
        let mut forecast = Forecast::default();
        let mut missed = |large| {
            let missed = forecast.is_large() != large;
            forecast.note(large);
            u32::from(missed)
        };
        (0..100).for_each(|_| _ = missed(true));
        for _ in 0..10 {
            let count: u32 = [&[false][..], &[true; 100]].concat().into_iter().map(&mut missed).sum();
            assert!(count <= 3, "itself, and one or two after it");
        }
    }
}
