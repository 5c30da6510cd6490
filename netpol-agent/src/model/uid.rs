use std::fmt;

/// `metadata.uid`, empty if the source has none. Nearly all are UUIDs, and as a number such a one takes a quarter of the room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uid(Form);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Form {
    /// One that is written in lower case, with hyphens: as the API server writes it.
    Uuid([u8; 16]),
    Text(Box<str>),
}

impl Uid {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Form::Text(text) if text.is_empty())
    }

    /// Whether it is this one.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        let other = Self::from(text);
        *self == other
    }
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        if let Ok(number) = u128::from_str_radix(&digits, 16) {
            let uid = Self(Form::Uuid(number.to_be_bytes()));
            // What is not written again as it was is no UUID in that form.
            if format!("{uid}") == text {
                return uid;
            }
        }
        Self(Form::Text(text.into()))
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = match &self.0 {
            Form::Uuid(bytes) => bytes,
            Form::Text(text) => return f.write_str(text),
        };
        let number = u128::from_be_bytes(*bytes);
        let part = |bits: u32| (number >> bits) & 0xffff;
        let (first, last) = (number >> 96, number & 0xffff_ffff_ffff);
        write!(f, "{first:08x}-{:04x}-{:04x}-{:04x}-{last:012x}", part(80), part(64), part(48))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_written_as_it_was_read() {
        for (text, is_uuid) in [
            ("00000000-0000-4000-9000-000000000017", true),
            ("f81d4fae-7dec-11d0-a765-00a0c91e6bf6", true),
            ("ffffffff-ffff-ffff-ffff-ffffffffffff", true),
            ("F81D4FAE-7dec-11d0-a765-00a0c91e6bf6", false),
            ("f81d4fae7dec11d0a76500a0c91e6bf6", false),
            ("f81d4fae-7dec-11d0-a765-00a0c91e6bf6-", false),
            ("+81d4fae-7dec-11d0-a765-00a0c91e6bf6", false),
            ("", false),
            ("-", false),
            ("7", false),
            ("mirror-of-a-static-pod", false),
        ] {
            let uid = Uid::from(text);
            assert_eq!(matches!(uid.0, Form::Uuid(_)), is_uuid, "{text}");
            assert_eq!((uid.to_string().as_str(), uid.is_empty()), (text, text.is_empty()));
            assert!(uid.is(text) && !uid.is("another"), "{text}");
        }
    }
}
