//! Deadlines of calls: what a client says in `grpc-timeout`, and what an endpoint is told of it.

use std::time::Duration;

use crate::clock::{Millis, Nanos};
use crate::http::connection::Connection;
use crate::http::fields::Fields;
use crate::http::reject::Reject;

const TIMEOUT: &str = "grpc-timeout";
/// The most digits that a time may have.
const DIGITS: usize = 8;

/// The units, the finest first, with how many nanoseconds each has.
const UNITS: [(u8, u128); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// A time: up to eight digits and a unit. Zero is one, too: who sends it has no time left.
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let nanos = UNITS.iter().find(|(letter, _)| letter == unit)?.1;
    let is_number = (1..=DIGITS).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let number: u64 = str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
    let nanos = u128::from(number) * nanos;
    Some(Duration::new(u64::try_from(nanos / 1_000_000_000).ok()?, (nanos % 1_000_000_000) as u32))
}

/// A time in the finest unit that has room for it, from milliseconds on; rounded down, so that nobody takes longer than that.
fn written(time: Duration) -> String {
    let nanos = time.as_nanos();
    let units = UNITS.iter().skip_while(|(unit, _)| *unit != b'm');
    let fitting = units.map(|(unit, of)| (nanos / of, *unit)).find(|(number, _)| *number < 10_u128.pow(DIGITS as u32));
    let (number, unit) = fitting.unwrap_or((99_999_999, b'H'));
    format!("{number}{}", char::from(unit))
}

/// Notes when a call has to be over, counted from `now` when it is looked at first; refuses it where that was before.
///
/// A time that is none is refused. Implementations differ: Go's refuse it, those in C++ and Envoy take it for none. Were it ignored
/// here and read there, router and endpoint would go by two deadlines, and a client that meant to wait a second would wait for
/// ever.
pub(crate) fn note(connection: &Connection, fields: &Fields, now: Nanos) -> Result<(), (Reject, &'static str)> {
    if connection.request_deadline.get() == Millis::NEVER {
        let mut lines = fields.get_all(TIMEOUT);
        let Some(line) = lines.next() else { return Ok(()) };
        let time = parse(line).filter(|_| lines.next().is_none());
        let time = time.ok_or((Reject::BadGrpcTimeout, "its grpc-timeout is no time of gRPC's"))?;
        // Rounded up: before its time is over no call is late.
        let millis = time.as_nanos().div_ceil(1_000_000);
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        connection.request_deadline.set(Millis(now.millis().0.saturating_add(millis)));
    }
    if now.millis() < connection.request_deadline.get() {
        return Ok(());
    }
    Err((Reject::RequestTimeout, "its deadline is over"))
}

/// Tells the endpoint how much time is left, where that is less than its client said: because the request had to wait, or the route
/// allows no more. `bound` is when it has to be over for the route's sake. Returns when it has to be over.
pub(crate) fn pass_on(connection: &Connection, fields: &mut Fields, bound: Millis, now: Nanos) -> Millis {
    let deadline = connection.request_deadline.get().min(bound);
    if deadline != Millis::NEVER {
        let left = Duration::from_millis(deadline.0.saturating_sub(now.millis().0));
        if fields.get(TIMEOUT).and_then(parse).is_none_or(|said| left < said) {
            fields.insert(TIMEOUT, written(left));
        }
    }
    deadline
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_the_protocol_has_them() {
        for (text, nanos) in [
            ("1n", 1),
            ("99999999u", 99_999_999_000),
            ("250m", 250_000_000),
            ("3S", 3_000_000_000),
            ("2M", 120_000_000_000),
            ("00000001H", 3_600_000_000_000),
            ("0m", 0),
        ] {
            assert_eq!(parse(text.as_bytes()).map(|time| time.as_nanos()), Some(nanos), "{text}");
        }
        assert_eq!(parse(b"99999999H").unwrap().as_secs(), 99_999_999 * 3_600);
        for bad in ["", "S", "1", "1s", "1h", "-1S", "+1S", "1.5S", " 1S", "1 S", "123456789S", "1SS", "\u{661}S"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn times_are_written_in_eight_digits() {
        for (millis, text) in
            [(0, "0m"), (1, "1m"), (99_999_999, "99999999m"), (100_000_000, "100000S"), (100_000_999, "100000S")]
        {
            assert_eq!(written(Duration::from_millis(millis)), text);
        }
        assert_eq!(written(Duration::MAX), "99999999H");
    }

    proptest::proptest! {
        /// What is written is never longer than it is, and never shorter by more than a unit of it.
        #[test]
        fn what_is_written_is_read_again(millis in 0..u64::MAX / 1_000_000) {
            let time = Duration::from_millis(millis);
            let text = written(time);
            let read = parse(text.as_bytes()).unwrap();
            proptest::prop_assert!(read <= time && read + time / 1_000 >= time, "{time:?} {text}");
        }
    }
}
