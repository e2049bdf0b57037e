//! `builtin_interfaces`: time, as every header has it.

use serde::{Deserialize, Serialize};

/// A point in time: `sec` and `nanosec` since the clock's epoch.
///
/// ```
/// use zerodds_rustdds::msg::builtin_interfaces::Time;
///
/// let time = Time { sec: 1_700_000_000, nanosec: 500_000_000 };
/// assert_eq!(zerodds_rustdds::cdr::serialized_len(&time)?, 8);
/// # Ok::<(), zerodds_rustdds::cdr::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Time {
    /// Seconds; negative before the epoch.
    pub sec: i32,
    /// Nanoseconds to be added, below 1,000,000,000.
    pub nanosec: u32,
}

impl Time {
    /// The type's name on DDS.
    pub const TYPE_NAME: &'static str = "builtin_interfaces::msg::dds_::Time_";
}
