//! How long connections are remembered.

use std::{str::FromStr, time::Duration};

/// How long an entry stays after its last packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// TCP, both sides have spoken. Longer than the two hours after which hosts probe a silent connection
    /// (RFC 9293 §3.8.4).
    pub tcp_established: Duration,
    /// TCP whose handshake is not over, answered or not.
    pub tcp_opening: Duration,
    /// TCP, one side has closed.
    pub tcp_closing: Duration,
    /// TCP, both sides have closed or one has reset: what is sent again because its answer was lost, see adr/0152.
    pub tcp_closed: Duration,
    /// UDP without an answer so far.
    pub udp_unanswered: Duration,
    /// UDP, both sides have spoken (RFC 4787 REQ-5: at least two minutes).
    pub udp_answered: Duration,
    /// ICMP echo.
    pub icmp: Duration,
    /// SCTP and everything else.
    pub other: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_established: Duration::from_secs(2 * 3600 + 15 * 60),
            tcp_opening: Duration::from_secs(60),
            tcp_closing: Duration::from_secs(5 * 60),
            tcp_closed: Duration::from_secs(10),
            udp_unanswered: Duration::from_secs(30),
            udp_answered: Duration::from_secs(3 * 60),
            icmp: Duration::from_secs(30),
            other: Duration::from_secs(10 * 60),
        }
    }
}

/// One timeout by its name, as it is written: `tcp-established=2h15m`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    which: Which,
    time: Duration,
}

macro_rules! names {
    ($($variant:ident $name:literal $field:ident,)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        enum Which { $($variant,)* }

        const NAMES: &[(&str, Which)] = &[$(($name, Which::$variant),)*];

        impl Timeouts {
            /// Changes one of them.
            pub fn set(&mut self, setting: &Setting) {
                match setting.which {
                    $(Which::$variant => self.$field = setting.time,)*
                }
            }
        }
    };
}
names! {
    TcpEstablished "tcp-established" tcp_established,
    TcpOpening "tcp-opening" tcp_opening,
    TcpClosing "tcp-closing" tcp_closing,
    TcpClosed "tcp-closed" tcp_closed,
    UdpAnswered "udp-answered" udp_answered,
    UdpUnanswered "udp-unanswered" udp_unanswered,
    Icmp "icmp" icmp,
    Other "other" other,
}

/// The shortest and the longest timeout: the clock that entries are dated by turns over after 24 days at 1,000 a second.
const RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(20 * 86_400);

/// Text that is no [`Setting`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingError {
    /// No equals sign.
    #[error("a timeout is NAME=TIME, for example tcp-established=2h15m")]
    Form,
    /// Not a timeout.
    #[error("{0:?} is no timeout: it is one of {names}", names = NAMES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "))]
    Name(String),
    /// Not a time.
    #[error("{0:?} is no time: {1}")]
    Time(String, String),
    /// Too short or too long.
    #[error("a timeout is from 1s to 20days")]
    Range,
}

impl FromStr for Setting {
    type Err = SettingError;
    fn from_str(text: &str) -> Result<Self, SettingError> {
        let (name, time) = text.split_once('=').ok_or(SettingError::Form)?;
        let known = NAMES.iter().find(|(known, _)| *known == name);
        let (_, which) = *known.ok_or_else(|| SettingError::Name(name.to_owned()))?;
        let time = humantime::parse_duration(time)
            .map_err(|source| SettingError::Time(time.to_owned(), source.to_string()))?;
        if !RANGE.contains(&time) {
            return Err(SettingError::Range);
        }
        Ok(Self { which, time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_set_by_its_name() {
        let mut timeouts = Timeouts::default();
        timeouts.set(&"udp-answered=90s".parse().unwrap());
        assert_eq!(timeouts, Timeouts { udp_answered: Duration::from_secs(90), ..Timeouts::default() });
        for (text, wanted) in [
            ("udp-answered", "NAME=TIME"),
            ("udp=1s", "one of tcp-established, tcp-opening"),
            ("icmp=fast", "is no time"),
            ("icmp=0s", "from 1s to 20days"),
            ("icmp=21days", "from 1s to 20days"),
        ] {
            let error = text.parse::<Setting>().unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
