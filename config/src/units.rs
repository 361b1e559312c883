//! Quantities as people write them: durations (`500ms`, `2s`, `5m`, `1h`) and rates (`100/s`, `30/m`).

use std::fmt;
use std::time::Duration;

/// Reads a duration: a whole number and one of `ms`, `s`, `m`, `h`. Zero and more than 24 hours are errors.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
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
        Some(0) => Err(format!("duration \"{text}\" is zero; leave the field out for its default")),
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

/// Bytes sent over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByteRate {
    /// How many in a second, at least 1.
    pub per_second: u64,
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
    fn rates() {
        assert_eq!(Rate::parse("100/s").map(Rate::period), Ok(Duration::from_millis(10)));
        assert_eq!(Rate::parse("30/m").unwrap().to_string(), "30/m");
        assert_eq!(Rate::parse("30/m").unwrap().per_second_at_least_one(), 1);
        assert_eq!(Rate::parse("3/s").map(Rate::period), Ok(Duration::from_nanos(333_333_333)));
        for bad in ["", "100", "0/s", "-1/s", "+1/s", "1.5/s", "100/d", "1000001/s", "/s", "1/", "99999999999/s"] {
            assert!(Rate::parse(bad).is_err(), "{bad}");
        }
    }
}
