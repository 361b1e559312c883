//! The messages of `grpc/health/v1/health.proto`.

use std::collections::HashMap;

/// `HealthCheckRequest`, and `HealthListRequest`, which has nothing.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub(super) struct Question {
    #[prost(string, tag = "1")]
    pub(super) service: String,
}

/// `HealthCheckResponse`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub(super) struct Answer {
    #[prost(enumeration = "Standing", tag = "1")]
    pub(super) status: i32,
}

/// `HealthListResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Answers {
    #[prost(map = "string, message", tag = "1")]
    pub(super) statuses: HashMap<String, Answer>,
}

/// `HealthCheckResponse.ServingStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Standing {
    /// Nobody knows.
    Unknown = 0,
    /// It can be called.
    Serving = 1,
    /// It cannot.
    NotServing = 2,
    /// There is none; to those who watch.
    ServiceUnknown = 3,
}

impl Standing {
    pub(super) fn of(is_serving: bool) -> Self {
        if is_serving { Self::Serving } else { Self::NotServing }
    }
}

impl Answer {
    pub(super) fn of(standing: Standing) -> Self {
        Self { status: standing as i32 }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn messages_are_as_others_write_them() {
        assert_eq!(Question::decode(&b"\x0a\x04shop"[..]).unwrap().service, "shop");
        assert_eq!(Question::decode(&b""[..]).unwrap().service, "");
        assert_eq!(Answer::of(Standing::NotServing).encode_to_vec(), [8, 2]);
        let one = Answers { statuses: HashMap::from([("a".to_owned(), Answer::of(Standing::Serving))]) };
        assert_eq!(one.encode_to_vec(), b"\x0a\x07\x0a\x01a\x12\x02\x08\x01");
    }
}
