//! Quantities as people write them: durations (`500ms`, `2s`, `5m`, `1h`), rates (`100/s`, `30/m`), bytes (`64KiB`) and
//! rates of bytes (`10MiB/s`).

use std::fmt;
use std::time::Duration;

/// Reads a duration: a whole number and one of `ms`, `s`, `m`, `h`. Zero and more than 24 hours are errors.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration_or_zero(text)?;
    if duration.is_zero() {
        return Err(format!("duration \"{text}\" is zero; leave the field out for its default"));
    }
    Ok(duration)
}

/// The same where zero means something.
pub fn parse_duration_or_zero(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("\"{}\" is not a duration; write 500ms, 2s, 5m or 1h", text.escape_debug());
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err(wrong()),
    };
    match millis {
        Some(ms) if ms <= 86_400_000 => Ok(Duration::from_millis(ms)),
        _ => Err(format!("duration \"{text}\" is more than 24h")),
    }
}

/// Requests admitted over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many, at least 1.
    pub count: u32,
    /// In which time: a second, a minute or an hour.
    pub per: Duration,
}

impl Rate {
    /// Reads a rate: a whole number, a slash, and one of `s`, `m`, `h`. At least one an hour, at most 1,000,000 a
    /// second.
    pub fn parse(text: &str) -> Result<Rate, String> {
        let wrong = || format!("\"{}\" is not a rate; write 100/s, 30/m or 1000/h", text.escape_debug());
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        if !count.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let count: u32 = count.parse().map_err(|_| wrong())?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(wrong()),
        };
        if count == 0 {
            return Err(format!("rate \"{text}\" is zero; a route that must not be used is better removed"));
        }
        if u64::from(count) > 1_000_000 * seconds {
            return Err(format!("rate \"{text}\" is more than 1000000/s"));
        }
        Ok(Rate { count, per: Duration::from_secs(seconds) })
    }

    /// Time between two requests at this rate, rounded down to whole nanoseconds as governor does.
    pub fn period(self) -> Duration {
        self.per / self.count
    }

    /// Thousandths of a request a second, rounded down: how nginx counts.
    pub fn thousandths_per_second(self) -> u64 {
        u64::from(self.count) * 1_000 / self.per.as_secs().max(1)
    }

    /// What the rate gives in one second, rounded down, at least 1: the default burst.
    pub fn per_second_at_least_one(self) -> u32 {
        let seconds = u32::try_from(self.per.as_secs()).unwrap_or(u32::MAX).max(1);
        (self.count / seconds).max(1)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            60 => "m",
            3600 => "h",
            _ => "s",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

/// A share of a whole, in hundredths of a percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u16);

impl Percent {
    /// Nothing.
    pub const NONE: Percent = Percent(0);
    /// The whole.
    pub const ALL: Percent = Percent(10_000);

    /// So many hundredths of a percent; more than the whole is the whole.
    pub const fn of_hundredths(hundredths: u16) -> Percent {
        if hundredths > 10_000 { Percent::ALL } else { Percent(hundredths) }
    }

    /// Hundredths of a percent, 0 to 10,000.
    pub const fn hundredths(self) -> u16 {
        self.0
    }

    /// The share as a fraction, 0.0 to 1.0.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// Reads a share: a number with up to two digits after the point, and `%`. At most `100%`.
    pub fn parse(text: &str) -> Result<Percent, String> {
        let wrong = || format!("\"{}\" is not a share; write 0% to 100%, such as 1% or 0.25%", text.escape_debug());
        let number = text.strip_suffix('%').ok_or_else(wrong)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, "00"));
        let digits =
            |text: &str, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole, 3) || !digits(part, 2) {
            return Err(wrong());
        }
        let (whole, hundredths): (u32, u32) =
            (whole.parse().map_err(|_| wrong())?, format!("{part:0<2}").parse().map_err(|_| wrong())?);
        match u16::try_from(whole * 100 + hundredths) {
            Ok(share @ 0..=10_000) => Ok(Percent(share)),
            _ => Err(format!("\"{text}\" is more than 100%")),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}%"),
        }
    }
}

/// Bytes sent over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByteRate {
    /// How many in a second, at least 1.
    pub per_second: u64,
}

/// The units of bytes, biggest first.
const BYTE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads a number of bytes: a whole number and one of `B`, `kB`, `MB`, `GB` (thousands) or `KiB`, `MiB`, `GiB` (1024s).
/// Zero is an error.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{}\" is not a number of bytes; write 512B, 64KiB or 1MiB", text.escape_debug());
    match bytes(text).ok_or_else(wrong)? {
        Ok(0) => Err(format!("\"{text}\" is zero; leave the field out for its default")),
        Ok(bytes) => Ok(bytes),
        Err(unit) => Err(unknown_unit(text, unit)),
    }
}

/// A number of bytes, or the word that is no unit of them; nothing where it is something else.
fn bytes(text: &str) -> Option<Result<u64, &str>> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, word) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    match BYTE_UNITS.iter().find(|(unit, _)| *unit == word) {
        Some((_, size)) => Some(Ok(number.saturating_mul(*size))),
        None => Some(Err(word)),
    }
}

fn unknown_unit(text: &str, word: &str) -> String {
    let meant = match word.bytes().next().map(|byte| byte.to_ascii_lowercase()) {
        Some(b'k') => "kB for thousands, KiB for 1024s",
        Some(b'm') => "MB for millions, MiB for 1024²",
        Some(b'g') => "GB for thousand millions, GiB for 1024³",
        _ => "one of B, kB, MB, GB, KiB, MiB, GiB",
    };
    format!("\"{}\" has the unknown unit \"{word}\"; write {meant}", text.escape_debug())
}

impl ByteRate {
    /// The fastest: 10 GiB a second.
    const MOST: u64 = 10 << 30;

    /// Reads a rate of bytes: what [`parse_bytes`] reads, and `/s`. At most 10 GiB a second.
    pub fn parse(text: &str) -> Result<ByteRate, String> {
        let wrong = || format!("\"{}\" is not a rate of bytes; write 64KiB/s or 10MiB/s", text.escape_debug());
        let per_second = match bytes(text.strip_suffix("/s").ok_or_else(wrong)?).ok_or_else(wrong)? {
            Ok(per_second) => per_second,
            Err(unit) => return Err(unknown_unit(text, unit)),
        };
        match per_second {
            0 => Err(format!("rate \"{text}\" is zero; a route that must not be used is better removed")),
            1..=Self::MOST => Ok(ByteRate { per_second }),
            _ => Err(format!("rate \"{text}\" is more than 10GiB/s")),
        }
    }

    /// Whether a text is meant for a rate of bytes, rather than of requests: it has letters before the slash.
    pub fn is_meant(text: &str) -> bool {
        text.split_once('/').is_some_and(|(before, _)| {
            before.starts_with(|c: char| c.is_ascii_digit()) && before.ends_with(|c: char| c.is_ascii_alphabetic())
        })
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact =
            BYTE_UNITS.iter().find(|(_, size)| self.per_second >= *size && self.per_second.is_multiple_of(*size));
        let (unit, size) = exact.copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}/s", self.per_second / size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("24h"), Ok(Duration::from_hours(24)));
        for bad in ["", "5", "s", "0s", "-1s", "1.5s", "1 s", "25h", "18446744073709551615h", "9d", "é", "1é"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn zero_is_a_duration_where_it_means_something() {
        for zero in ["0s", "0ms", "0h"] {
            assert_eq!(parse_duration_or_zero(zero), Ok(Duration::ZERO));
            assert!(parse_duration(zero).unwrap_err().contains("is zero"));
        }
        assert_eq!(parse_duration_or_zero("2s"), Ok(Duration::from_secs(2)));
        assert!(parse_duration_or_zero("0").is_err() && parse_duration_or_zero("25h").is_err());
    }

    #[test]
    fn bytes_have_units_and_no_others() {
        for (text, bytes) in [
            ("1B", 1),
            ("5kB", 5_000),
            ("2MB", 2_000_000),
            ("1GB", 1_000_000_000),
            ("64KiB", 65_536),
            ("3MiB", 3 << 20),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes));
        }
        assert_eq!(parse_bytes("99999999999GiB"), Ok(u64::MAX), "too big for whoever asks");
        for bad in ["", "1", "B", "0B", "-1B", "1.5MiB", "1 MiB", "1K", "1KB", "1kb", "1Mib", "1é", "1B/s"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(
            parse_bytes("1KB").unwrap_err(),
            "\"1KB\" has the unknown unit \"KB\"; write kB for thousands, KiB for 1024s"
        );
    }

    #[test]
    fn rates_of_bytes_are_read_as_they_are_shown() {
        for text in ["1B/s", "1023B/s", "1KiB/s", "5kB/s", "10MiB/s", "10MB/s", "3GB/s", "10GiB/s"] {
            assert_eq!(ByteRate::parse(text).map(|rate| rate.to_string()).as_deref(), Ok(text));
            assert!(ByteRate::is_meant(text));
        }
        for bad in ["", "10MiB", "10/s", "0B/s", "10MiB/m", "11GiB/s", "10241MiB/s", "-1B/s", "1.5MiB/s", "MiB/s", "/s"]
        {
            assert!(ByteRate::parse(bad).is_err(), "{bad}");
        }
        for other in ["100/s", "x", "fast/s", "", "1000/h", "10MiB"] {
            assert!(!ByteRate::is_meant(other), "{other}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!(Rate::parse("100/s").map(Rate::period), Ok(Duration::from_millis(10)));
        assert_eq!(Rate::parse("30/m").unwrap().to_string(), "30/m");
        assert_eq!(Rate::parse("30/m").unwrap().per_second_at_least_one(), 1);
        assert_eq!(Rate::parse("3/s").map(Rate::period), Ok(Duration::from_nanos(333_333_333)));
        for bad in ["", "100", "0/s", "-1/s", "+1/s", "1.5/s", "100/d", "1000001/s", "/s", "1/", "99999999999/s"] {
            assert!(Rate::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_are_exact_and_read_back() {
        for (text, hundredths, shown) in [
            ("0%", 0, "0%"),
            ("1%", 100, "1%"),
            ("0.5%", 50, "0.5%"),
            ("0.05%", 5, "0.05%"),
            ("12.30%", 1_230, "12.3%"),
            ("100%", 10_000, "100%"),
        ] {
            let share = Percent::parse(text).unwrap();
            assert_eq!((share.hundredths(), share.to_string().as_str()), (hundredths, shown));
            assert_eq!(Percent::parse(shown), Ok(share));
        }
        for bad in ["", "%", "1", "1.%", ".5%", "1.234%", "-1%", "+1%", "1e1%", "1 %", "1000%"] {
            assert!(Percent::parse(bad).unwrap_err().contains("is not a share"), "{bad}");
        }
        for whole in 100..=999 {
            assert!(Percent::parse(&format!("{whole}.01%")).unwrap_err().contains("more than 100%"), "{whole}");
        }
        assert_eq!(Percent::of_hundredths(u16::MAX), Percent::ALL);
    }
}
