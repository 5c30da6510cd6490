use std::{fmt, net::SocketAddr, str::FromStr};

use super::ConfigError;
use crate::ui;

/// Value of `--ui-bind`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UiBind {
    /// The page is served here.
    At(SocketAddr),
    /// There is no page.
    Off,
}

impl Default for UiBind {
    fn default() -> Self {
        Self::At(ui::DEFAULT_BIND)
    }
}

impl fmt::Display for UiBind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Off => f.write_str("off"),
        }
    }
}

impl FromStr for UiBind {
    type Err = ConfigError;
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text {
            "off" => Ok(Self::Off),
            address => address.parse().ok().map(Self::At).ok_or(ConfigError::Ui),
        }
    }
}
