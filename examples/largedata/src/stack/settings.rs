//! How a stack's options become settings of the transports: the environment first, then the command line.

use super::{OpenError, StackOptions};

/// Settings of the two transports.
pub(crate) struct Settings {
    /// Shared memory.
    pub(crate) shm: zerodds_transport_shm::Config,
    /// UDP.
    pub(crate) udp: zerodds_transport_udp::Config,
}

impl Settings {
    /// The environment's settings; shared memory off where the path or the build says so.
    ///
    /// # Errors
    /// [`OpenError`] where a variable has a value that is not accepted.
    pub(crate) fn new(options: &StackOptions) -> Result<Self, OpenError> {
        let shm = zerodds_transport_shm::Config::from_env().map_err(OpenError::Setting)?;
        let udp = zerodds_transport_udp::Config::from_env().map_err(OpenError::Setting)?;
        let shm = if options.path.shares_memory() { shm } else { shm.enabled(false) };
        Ok(Self { shm, udp })
    }
}
