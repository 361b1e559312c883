//! Statuses of calls, and which of them a refusal is.

use http::StatusCode;

use crate::http::reject::Reject;

/// Declares the statuses in the order of their numbers.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident $name:literal;)*) => {
        /// The status of a call.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// All of them, by their numbers.
            pub(crate) const ALL: &[Code] = &[$(Code::$variant,)*];

            /// The name that every language knows it by.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }
        }
    };
}

codes! {
    /// It was done.
    Ok "OK";
    /// Who called did not want it any more.
    Cancelled "CANCELLED";
    /// Nobody knows.
    Unknown "UNKNOWN";
    /// What was asked for makes no sense, whatever the state of things.
    InvalidArgument "INVALID_ARGUMENT";
    /// It took too long.
    DeadlineExceeded "DEADLINE_EXCEEDED";
    /// Something is not there.
    NotFound "NOT_FOUND";
    /// Something is there already.
    AlreadyExists "ALREADY_EXISTS";
    /// Who called may not.
    PermissionDenied "PERMISSION_DENIED";
    /// Something is used up: a quota, or room.
    ResourceExhausted "RESOURCE_EXHAUSTED";
    /// The state of things does not allow it.
    FailedPrecondition "FAILED_PRECONDITION";
    /// It met another call.
    Aborted "ABORTED";
    /// It is past the end.
    OutOfRange "OUT_OF_RANGE";
    /// There is no such method.
    Unimplemented "UNIMPLEMENTED";
    /// Something is broken.
    Internal "INTERNAL";
    /// Not now; it may be tried again.
    Unavailable "UNAVAILABLE";
    /// Something is lost.
    DataLoss "DATA_LOSS";
    /// Who called has not shown who that is.
    Unauthenticated "UNAUTHENTICATED";
}

impl Code {
    /// Its number, as `grpc-status` has it.
    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    /// What `grpc-status` says. What is no number, or none of those that there are, nobody knows.
    pub(crate) fn of(value: &[u8]) -> Self {
        let number = str::from_utf8(value).ok().and_then(|text| text.parse::<usize>().ok());
        number.and_then(|number| Self::ALL.get(number)).copied().unwrap_or(Self::Unknown)
    }

    /// What clients take an answer for that is none of gRPC's (http-grpc-status-mapping.md).
    pub(crate) fn of_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// Whether it says that something is wrong with the server, and not with the call: what a 5xx is to HTTP. The same as in
    /// OpenTelemetry's conventions for servers of gRPC.
    pub(crate) const fn is_of_the_server(self) -> bool {
        match self {
            Self::Unknown
            | Self::DeadlineExceeded
            | Self::Unimplemented
            | Self::Internal
            | Self::Unavailable
            | Self::DataLoss => true,
            Self::Ok
            | Self::Cancelled
            | Self::InvalidArgument
            | Self::NotFound
            | Self::AlreadyExists
            | Self::PermissionDenied
            | Self::ResourceExhausted
            | Self::FailedPrecondition
            | Self::Aborted
            | Self::OutOfRange
            | Self::Unauthenticated => false,
        }
    }

    /// The status of a call that the router refused.
    ///
    /// Clients decide by it whether to try again, which most do for UNAVAILABLE alone. So that is what passes by itself, and where
    /// another router or endpoint may do better; nothing else is.
    pub(crate) const fn of_reject(reject: Reject) -> Self {
        match reject {
            // The same call would be refused again.
            Reject::MalformedRequest
            | Reject::AmbiguousFraming
            | Reject::BadHost
            | Reject::BadPath
            | Reject::UriTooLong
            | Reject::BadHeaderName
            | Reject::BadGrpcTimeout
            | Reject::ExpectationFailed
            | Reject::NoTenant
            | Reject::BadTenant => Self::InvalidArgument,
            // As servers of gRPC say of metadata and messages that are too large for them. For a limit, whatever status its
            // document gives to those who speak HTTP.
            Reject::HeadTooLarge | Reject::BodyTooLarge | Reject::LimitExceeded => Self::ResourceExhausted,
            // Somebody took longer than was allowed: the client, the endpoint, or both together.
            Reject::HeadTimeout | Reject::BodyTimeout | Reject::UpstreamResponseTimeout | Reject::RequestTimeout => {
                Self::DeadlineExceeded
            }
            Reject::ClientDenied => Self::PermissionDenied,
            // A method is a path: where nothing is routed, there is none.
            Reject::MethodNotAllowed | Reject::NoRoute | Reject::UpgradeNotSupported => Self::Unimplemented,
            // A connection that fails is UNAVAILABLE to every client of gRPC, whichever way it fails. That goes for one that took
            // too long to be opened, too: it is no deadline of the call's, and nothing was sent.
            Reject::CellOffline
            | Reject::TenantFenced
            | Reject::NoCell
            | Reject::NoEndpoint
            | Reject::RouterOverloaded
            | Reject::UpstreamConnectFailed
            | Reject::UpstreamConnectTimeout
            | Reject::UpstreamTlsFailed
            | Reject::UpstreamNoHttp2
            | Reject::UpstreamNoUpgrade
            | Reject::UpstreamClosed => Self::Unavailable,
            Reject::UpstreamProtocolError => Self::Internal,
        }
    }
}

/// A message as `grpc-message` has it: what is not printable ASCII, and `%`, byte by byte as hexadecimal digits.
pub(crate) fn percent_encoded(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => {
                encoded.push('%');
                for digit in [byte >> 4, byte & 15] {
                    encoded.extend(char::from_digit(u32::from(digit), 16).map(|digit| digit.to_ascii_uppercase()));
                }
            }
            plain => encoded.push(char::from(plain)),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_protocol() {
        for (code, number) in [
            (Code::Ok, 0),
            (Code::InvalidArgument, 3),
            (Code::ResourceExhausted, 8),
            (Code::Unimplemented, 12),
            (Code::Unauthenticated, 16),
        ] {
            assert_eq!((code.number(), Code::of(number.to_string().as_bytes())), (number, code));
        }
        assert_eq!(Code::ALL.len(), 17);
        for odd in ["17", "-1", "", "one", "4294967296", "\u{e4}"] {
            assert_eq!(Code::of(odd.as_bytes()), Code::Unknown, "{odd:?}");
        }
    }

    #[test]
    fn no_refusal_passes_for_done_or_for_the_clients_wish() {
        for reject in Reject::ALL {
            let code = Code::of_reject(*reject);
            assert!(!matches!(code, Code::Ok | Code::Cancelled | Code::Unknown), "{reject:?}");
            // What passes by itself is a 5xx to others as well.
            assert!(code != Code::Unavailable || reject.status().is_server_error(), "{reject:?}");
        }
    }

    #[test]
    fn the_readme_lists_the_status_of_every_refusal() {
        let readme = include_str!("../../../README.md");
        for reject in Reject::ALL {
            let code = Code::of_reject(*reject);
            let row = format!("| `{}` ({}) |", code.name(), code.number());
            let line = readme.lines().map(str::trim_start).find(|line| line.starts_with(&row));
            let line = line.unwrap_or_else(|| panic!("README.md does not list {row}"));
            assert!(line.contains(&format!("`{}`", reject.code())), "{reject:?}: {line}");
        }
    }

    #[test]
    fn messages_are_encoded() {
        assert_eq!(percent_encoded("too many requests"), "too many requests");
        assert_eq!(percent_encoded("100%\r\n\u{20ac}~\u{7f}"), "100%25%0D%0A%E2%82%AC~%7F");
        for reject in Reject::ALL {
            assert_eq!(percent_encoded(reject.text()), reject.text());
        }
    }
}
