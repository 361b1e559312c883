//! Text that is mostly short: up to 38 bytes are kept in place.
//!
//! A look-up among thousands of routes costs what it misses in the cache. A boxed text is one miss more for each, and
//! most hosts and prefixes are short. With 38 bytes an entry of either table fills a cache line.

const SHORT: usize = 38;

#[derive(Debug)]
pub(super) enum Text {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Box<str>),
}

impl Text {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(text) => text.as_bytes(),
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let mut bytes = [0; SHORT];
        let Some(place) = bytes.get_mut(..text.len()) else { return Self::Long(text.into()) };
        place.copy_from_slice(text.as_bytes());
        Self::Short { len: text.len() as u8, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_length() {
        for length in 0..80 {
            let text = "ä".repeat(length / 2) + &"x".repeat(length % 2);
            assert_eq!(Text::from(text.as_str()).as_bytes(), text.as_bytes());
        }
        assert_eq!(size_of::<Text>(), 40);
    }
}
