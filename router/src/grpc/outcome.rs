//! How calls end, for those who count.

use http::{HeaderMap, StatusCode};

use super::status::Code;
use super::{Ending, STATUS};
use crate::http::fields::Fields;
use crate::upstream::response_body::BrokenOff;

/// How a call ends, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is on its way.
    Open,
    /// It has ended, or will with this and nothing else.
    Over(Code),
}

impl Outcome {
    /// What the head of an answer says. One of gRPC's has no status but where it is all of the answer.
    pub(crate) fn of_head(status: StatusCode, fields: &Fields) -> Self {
        match fields.get(STATUS) {
            Some(value) => Self::Over(Code::of(value)),
            None if status == StatusCode::OK => Self::Open,
            None => Self::Over(Code::of_http(status)),
        }
    }

    /// The answer has come to its end, with these trailers.
    #[must_use]
    pub(crate) fn ends(self, trailers: Option<&HeaderMap>) -> Self {
        match (trailers.and_then(|trailers| trailers.get(STATUS)), self) {
            (Some(value), _) => Self::Over(Code::of(value.as_bytes())),
            // Without a status it is no answer.
            (None, Self::Open) => Self::Over(Code::Unknown),
            (None, over @ Self::Over(_)) => over,
        }
    }

    /// The call's status. Whose answer was not over when it was dropped, that client had left.
    pub(crate) fn code(self) -> Code {
        match self {
            Self::Open => Code::Cancelled,
            Self::Over(code) => code,
        }
    }
}

/// What a client is told of an answer that breaks off. What the router ends has a status, which holds for part of a message as well:
/// it is none that says that all is there. What the endpoint breaks off has none: the stream is reset, as by the endpoint itself.
pub(crate) fn ending_of(why: BrokenOff) -> Option<Ending> {
    let message = match why {
        BrokenOff::Upstream => return None,
        BrokenOff::Stalled => "the service stopped sending its answer",
        BrokenOff::Deadline => "the request took too long",
        BrokenOff::Left => "the service is being replaced; try again",
    };
    Some(Ending { code: code_of(why), message, pushback: None })
}

/// The status that a client has when an answer breaks off. A stream reset with `INTERNAL_ERROR` is INTERNAL to it.
pub(crate) const fn code_of(why: BrokenOff) -> Code {
    match why {
        BrokenOff::Upstream => Code::Internal,
        BrokenOff::Stalled | BrokenOff::Deadline => Code::DeadlineExceeded,
        BrokenOff::Left => Code::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailers(status: &'static str) -> HeaderMap {
        std::iter::once((http::HeaderName::from_static("grpc-status"), http::HeaderValue::from_static(status)))
            .collect()
    }

    #[test]
    fn the_trailers_say_how_a_call_ended() {
        let open = Outcome::of_head(StatusCode::OK, &Fields::new());
        assert_eq!((open, open.code()), (Outcome::Open, Code::Cancelled));
        assert_eq!(open.ends(Some(&trailers("0"))).code(), Code::Ok);
        assert_eq!(open.ends(Some(&trailers("14"))).code(), Code::Unavailable);
        assert_eq!(open.ends(None).code(), Code::Unknown);
        assert_eq!(open.ends(Some(&HeaderMap::new())).code(), Code::Unknown);
    }

    #[test]
    fn so_does_a_head_that_is_all_there_is() {
        let fields: Fields = [("grpc-status", "7")].into_iter().collect();
        let over = Outcome::of_head(StatusCode::OK, &fields);
        assert_eq!(over.ends(None).code(), Code::PermissionDenied);
        let of_http = |status| Outcome::of_head(status, &Fields::new()).ends(None).code();
        assert_eq!(of_http(StatusCode::SERVICE_UNAVAILABLE), Code::Unavailable);
        assert_eq!(of_http(StatusCode::INTERNAL_SERVER_ERROR), Code::Unknown);
        assert_eq!(of_http(StatusCode::NOT_FOUND), Code::Unimplemented);
    }
}
