//! gRPC: what a gateway has to know of it beside HTTP/2.
//!
//! A call passes as any request does. Here is what its client reads otherwise: refusals as statuses, a deadline of its own,
//! the status in the trailers, and the form that browsers speak. The protocol is that of gRPC's PROTOCOL-HTTP2.md and
//! PROTOCOL-WEB.md. Who speaks none of it pays for a look at one flag.

pub(crate) mod deadline;
pub(crate) mod outcome;
pub(crate) mod status;
pub(crate) mod web;

use http::{HeaderMap, HeaderValue, header};

use crate::http::fields::Fields;
use status::Code;

/// What a client takes for an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// HTTP.
    #[default]
    Plain,
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web, over whatever version.
    Web(web::Form),
}

const GRPC: &[u8] = b"application/grpc";

impl Dialect {
    /// What the client speaks by whom a request came over HTTP/2. Over HTTP/1.1 nobody speaks gRPC.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let is_grpc = headers.get(header::CONTENT_TYPE).is_some_and(|value| is_grpc(value.as_bytes()));
        if is_grpc { Self::Grpc } else { Self::Plain }
    }

    /// Whether it is a call.
    pub(crate) fn is_call(self) -> bool {
        self != Self::Plain
    }

    /// The form of gRPC-Web, if it speaks that.
    pub(crate) fn web(self) -> Option<web::Form> {
        match self {
            Self::Web(form) => Some(form),
            Self::Plain | Self::Grpc => None,
        }
    }
}

/// Whether a type of content is gRPC's: the name alone, or with a suffix or parameters.
fn is_grpc(content_type: &[u8]) -> bool {
    let Some((name, rest)) = content_type.split_at_checked(GRPC.len()) else { return false };
    name.eq_ignore_ascii_case(GRPC) && rest.first().is_none_or(|byte| b"+;".contains(byte))
}

/// What a call's client is told in place of trailers of the endpoint's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    pub(crate) code: Code,
    pub(crate) message: &'static str,
    /// How many milliseconds later the call may be tried again, where that is known.
    pub(crate) pushback: Option<u32>,
}

const STATUS: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";
/// How long a client waits before it tries again, in milliseconds (gRFC A6). Clients look for it among the trailers, which those
/// of an answer without a body are.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

impl Ending {
    fn lines(self, mut each: impl FnMut(&'static str, String)) {
        each(STATUS, self.code.number().to_string());
        each(MESSAGE, status::percent_encoded(self.message));
        if let Some(milliseconds) = self.pushback {
            // Clients take a larger one for none at all.
            each(PUSHBACK, milliseconds.min(i32::MAX as u32).to_string());
        }
    }

    /// Adds it to the head of an answer that has nothing else.
    pub(crate) fn write(self, fields: &mut Fields) {
        self.lines(|name, value| fields.append(name, value));
    }

    /// As trailers.
    pub(crate) fn trailers(self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        self.lines(|name, value| {
            trailers
                .extend(HeaderValue::try_from(value).ok().map(|value| (http::HeaderName::from_static(name), value)));
        });
        trailers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_by_their_type() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            Dialect::of(&headers)
        };
        for call in ["application/grpc", "Application/gRPC+proto", "application/grpc;charset=utf-8"] {
            assert_eq!(of(call), Dialect::Grpc, "{call}");
        }
        for other in
            ["application/grpc-web", "application/grpc-web-text+proto", "application/grpcx", "text/plain", "", "a"]
        {
            assert_eq!(of(other), Dialect::Plain, "{other}");
        }
        assert_eq!(Dialect::of(&HeaderMap::new()), Dialect::Plain);
    }

    #[test]
    fn an_ending_says_when_to_come_again_only_where_that_is_known() {
        let ending = Ending { code: Code::Unavailable, message: "50% ä", pushback: None };
        let trailers = ending.trailers();
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"14".parse().unwrap(), &"50%25 %C3%A4".parse().unwrap())
        );
        assert!(!trailers.contains_key("grpc-retry-pushback-ms"));
        let late = Ending { pushback: Some(u32::MAX), ..ending }.trailers();
        assert_eq!(late["grpc-retry-pushback-ms"], "2147483647");
    }
}
