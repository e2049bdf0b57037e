//! A door for the fuzz targets (`fuzz/` of the repository) to what is private here; only under `--cfg fuzzing`.

use crate::Config;
use std::ffi::OsString;
use zerodds_core::ConfigError;

/// The configuration of an environment.
///
/// # Errors
/// As [`Config::from_env`].
pub fn config(var: impl Fn(&'static str) -> Option<OsString>) -> Result<Config, ConfigError> {
    Config::default().overlaid_with(var)
}
