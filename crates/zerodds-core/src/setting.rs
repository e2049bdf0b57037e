//! Settings of the environment, read and refused in one way by every crate of this project.

use std::ffi::OsString;
use thiserror::Error;

/// A setting that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value is not understood or out of range.
    #[error("{name}={value:?} is not usable: {accepted}")]
    Value {
        /// The variable, or the setter's name.
        name: &'static str,
        /// What it was set to.
        value: String,
        /// What is accepted.
        accepted: &'static str,
    },
}

/// One setting: what it is called, and what it takes.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The variable, or the setter's name.
    pub name: &'static str,
    /// What a user is told who sets it to anything else, from "use" on.
    pub accepted: &'static str,
}

impl Setting {
    /// A setting.
    #[must_use]
    pub const fn new(name: &'static str, accepted: &'static str) -> Self {
        Self { name, accepted }
    }

    /// Puts its value into `field` where `var` knows it (`std::env::var_os` does, outside of tests), as `parse` understands it
    /// without the white space around it.
    ///
    /// ```
    /// use zerodds_core::{Setting, parse_switch};
    /// const CAPTURE_UDP: Setting = Setting::new("ZERODDS_CAPTURE_UDP", "use on or off");
    /// let mut udp = false;
    /// CAPTURE_UDP.read(|_| Some("on".into()), &mut udp, parse_switch)?;
    /// assert!(udp);
    /// let error = CAPTURE_UDP.read(|_| Some("maybe".into()), &mut udp, parse_switch).unwrap_err();
    /// assert_eq!(error.to_string(), "ZERODDS_CAPTURE_UDP=\"maybe\" is not usable: use on or off");
    /// # Ok::<(), zerodds_core::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// It is set to what is no text, or what `parse` does not understand.
    pub fn read<T>(
        &self,
        var: impl Fn(&'static str) -> Option<OsString>,
        field: &mut T,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<(), ConfigError> {
        if let Some(value) = var(self.name) {
            let parsed = value.to_str().and_then(|text| parse(text.trim()));
            *field = self.accept(value.to_string_lossy(), parsed)?;
        }
        Ok(())
    }

    /// The same setting under the name of its setter.
    #[must_use]
    pub const fn called(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// What a setter was given, as it is accepted, if it is.
    ///
    /// # Errors
    /// It is not.
    pub fn accept<T>(&self, given: impl ToString, accepted: Option<T>) -> Result<T, ConfigError> {
        let Self { name, accepted: wanted } = *self;
        accepted.ok_or_else(|| ConfigError::Value { name, value: given.to_string(), accepted: wanted })
    }
}

/// Bytes from `65536`, `64KiB`, `16 MiB`, `1GiB` or `1t`: how every size in a setting of this project is written. Units are
/// powers of 1,024; `MB` and its like mean 1,000 to some, and are nothing here.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// On or off, and the other words for it.
#[must_use]
pub fn parse_switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "1" | "true" | "yes" => Some(true),
        "off" | "0" | "false" | "no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units_or_none() {
        for (text, bytes) in
            [("65536", 65_536), ("64KiB", 65_536), ("16 MiB", 16 << 20), ("1g", 1 << 30), ("2 tib", 2 << 40)]
        {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "4MB", "-1", "1.5MiB", "65 507", "99999999999999999999", "16777216t"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_text_is_refused_and_shown_as_far_as_it_can_be() {
        use std::os::unix::ffi::OsStringExt;
        let setting = Setting::new("X", "use on or off");
        let mut field = false;
        let error = setting
            .read(|_| Some(OsString::from_vec(vec![b'o', 0xff])), &mut field, parse_switch)
            .expect_err("it is not");
        assert!(error.to_string().starts_with("X=\"o\u{fffd}\""), "{error}");
        assert_eq!((setting.read(|_| None, &mut field, parse_switch), field), (Ok(()), false));
    }
}
