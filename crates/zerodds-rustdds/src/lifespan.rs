//! LIFESPAN (DDS 1.4 §2.2.3.16): until when a sample may be given to an application.
//!
//! ```text
//!   source timestamp ───── the shorter of the writer's and the reader's LIFESPAN ─────▶ expired: freed, and counted
//! ```
//! RustDDS knows the reader's only, and looks at it when fragments arrive. A shared sample says when it was written and how
//! long its writer lets it live, so that the reader's side lets go of it in time, looked at or not. Time is that of the
//! host's clock, in the ticks of RTPS: both sides are on one host.

use rustdds::{Duration, QosPolicies, Timestamp};

/// A point in time in ticks of RTPS, 2⁻³² s since 1970; [`NEVER`] is none.
pub(crate) type Ticks = u64;

/// Later than everything.
pub(crate) const NEVER: Ticks = Ticks::MAX;

/// Now.
pub(crate) fn now() -> Ticks {
    Timestamp::now().to_ticks()
}

/// How long it is until then; nothing, if it is past.
pub(crate) fn until(then: Ticks) -> std::time::Duration {
    let left = u128::from(then.saturating_sub(now()));
    std::time::Duration::from_nanos(((left * 1_000_000_000) >> 32) as u64)
}

/// How long samples live, in ticks; [`Lifespan::ENDLESS`] for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lifespan(u64);

impl Lifespan {
    pub(crate) const ENDLESS: Self = Self(NEVER);

    /// What the policy says.
    pub(crate) fn of(qos: &QosPolicies) -> Self {
        let finite = qos
            .lifespan()
            .map(|lifespan| lifespan.duration)
            .filter(|&duration| duration < Duration::INFINITE);
        finite.map_or(Self::ENDLESS, |duration| {
            let nanoseconds = u128::try_from(duration.to_nanoseconds()).unwrap_or(0);
            Self(((nanoseconds << 32) / 1_000_000_000) as u64)
        })
    }

    pub(crate) const fn is_endless(self) -> bool {
        self.0 == Self::ENDLESS.0
    }

    /// When a sample that was written then expires; whatever was not stamped never does.
    pub(crate) const fn end(self, written: Option<Ticks>) -> Ticks {
        match written {
            Some(written) if !self.is_endless() => written.saturating_add(self.0),
            _ => NEVER,
        }
    }

    /// As a word on its way to another session: 0 is for ever.
    pub(crate) const fn to_word(self) -> u64 {
        if self.is_endless() {
            0
        } else if self.0 == 0 {
            1
        } else {
            self.0
        }
    }

    pub(crate) const fn from_word(word: u64) -> Self {
        if word == 0 { Self::ENDLESS } else { Self(word) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustdds::QosPolicyBuilder;
    use rustdds::policy;

    fn of(duration: Duration) -> Lifespan {
        Lifespan::of(&QosPolicyBuilder::new().lifespan(policy::Lifespan { duration }).build())
    }

    #[test]
    fn a_sample_expires_its_lifespan_after_it_was_written() {
        assert_eq!(of(Duration::from_millis(1_500)).end(Some(10 << 32)), (11 << 32) + (1 << 31));
        assert_eq!(of(Duration::ZERO).end(Some(7)), 7);
        assert_eq!(of(Duration::from_secs(1)).end(None), NEVER, "nobody knows when it was written");
        for endless in [of(Duration::INFINITE), Lifespan::of(&QosPolicies::qos_none())] {
            assert_eq!(endless.end(Some(7)), NEVER);
        }
    }

    #[test]
    fn the_shorter_lifespan_counts_and_words_keep_it() {
        let (short, long) = (of(Duration::from_millis(1)), of(Duration::from_secs(1)));
        assert_eq!(short.min(long).min(Lifespan::ENDLESS), short);
        for lifespan in [short, long, Lifespan::ENDLESS] {
            assert_eq!(Lifespan::from_word(lifespan.to_word()), lifespan);
        }
        assert!(!Lifespan::from_word(of(Duration::ZERO).to_word()).is_endless());
    }
}
